# SPDX-License-Identifier: Apache-2.0
"""Locates the visible objects of an image in 3D, from depth_image, camera_info and tf.

Knows no tracker and publishes nothing. If depth, camera_info or tf is missing for an image, its objects have no
position; tracking is not affected, and /diagnostics reports the reason.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sam2_ros.engine import FrameResult, TrackedObject
from sam2_ros.node.convert import stamp_to_ns
from sam2_ros.node.diagnostics import OK, WARN, StatusLine

from .camera_infos import CameraInfos
from .depth import DepthImage, check_registered
from .depth_subscriptions import DepthSubscriptions
from .intrinsics import Intrinsics
from .location import Location, NoPositionError, NotYetError, ObjectLocations
from .object_points import ObjectPoints, measure_points
from .orientation import OrientationTracker
from .transform import IDENTITY, TfBuffer, Transform, Transforms, overdue
from .velocity import VelocityEstimator

JUDGED_IMAGES = 30  # the status covers this many last images ...
TOLERATED_SHARE = 0.1  # ... of which this share may lack positions: best-effort depth images can get lost
WARNING_PERIOD_S = 10.0  # of the log line about a missing transform; /diagnostics reports it every second


@dataclass(frozen=True)
class ObservedImage:
    """The visible surfaces in one image, in the camera's frame.

    Attributes:
        header: header of the image.
        stamp_s: time of the image, for velocities.
        labels: object id -> label, hidden objects included.
        surfaces: object id -> surface, for visible objects with enough depth readings.
        missing: reasons why other objects have no position.
    """

    header: Any
    stamp_s: float
    labels: dict[str, int]
    surfaces: dict[str, ObjectPoints]
    missing: list[str]

    def only(self, ids: Collection[str]) -> ObservedImage:
        """A copy with these objects only."""
        return replace(
            self,
            labels={object_id: label for object_id, label in self.labels.items() if object_id in ids},
            surfaces={object_id: points for object_id, points in self.surfaces.items() if object_id in ids},
        )


class ObjectLocator:
    """Locates objects in two steps: `observe` needs the depth image, `locate` the transform, which may come later.

    Threads: `observe` is called by one thread, `locate` by one at a time, everything else by any.

    Args:
        node: subscribes to `depth_image` and `camera_info`, and with a target frame to tf.
        depth_image_units_divisor: 16-bit depth values divided by this are metres.
        depth_slop: maximum difference of the stamps of an image and its depth image, seconds.
        target_frame: frame of the positions; empty: the image's own frame.
        rectified: the image is rectified: P of its camera_info applies, without distortion.

    Raises:
        UserError: message_filters is not installed, or with a target frame tf2_ros.
    """

    def __init__(
        self,
        node: Any,
        depth_image_units_divisor: int,
        depth_slop: float,
        target_frame: str,
        rectified: bool,
    ) -> None:
        self._log = node.get_logger()
        self._divisor = depth_image_units_divisor
        self._target_frame = target_frame
        self._rectified = rectified
        self._transforms = Transforms(node, target_frame) if target_frame else None
        try:
            self._sources = DepthSubscriptions(node, depth_slop)
        except Exception:
            if self._transforms is not None:
                self._transforms.destroy()
            raise
        self._lock = threading.Lock()  # guards the attributes below
        self._velocities = VelocityEstimator()
        self._orientations = OrientationTracker()
        self._frame_id = ""
        self._reasons: deque[str] = deque(maxlen=JUDGED_IMAGES)  # one per image; "" = nothing missing
        self._counts = Counter(
            images=0, images_lacking_positions=0, images_lacking_transform=0, images_waited_for_tf=0
        )

    @property
    def camera_infos(self) -> CameraInfos:
        """The subscription of camera_info."""
        return self._sources.infos

    @property
    def tf(self) -> TfBuffer | None:
        """The tf listener; None without a target frame."""
        return self._transforms.tf if self._transforms is not None else None

    def destroy(self) -> None:
        self._sources.destroy()
        if self._transforms is not None:
            self._transforms.destroy()

    def discontinuity(self) -> None:
        """Time or the camera jumped: drop velocities, axes, depth images and transforms."""
        self._sources.discontinuity()
        if self._transforms is not None:
            self._transforms.forget()
        with self._lock:
            self._velocities.clear()
            self._orientations.clear()

    def observe(self, result: FrameResult, height_px: int, width_px: int, header: Any) -> ObservedImage:
        """The visible surfaces of the objects of one image, given its result, size (px) and header."""
        observed = ObservedImage(
            header, result.stamp_s, {obj.id: obj.label for obj in result.objects}, {}, []
        )
        try:
            depth, intrinsics = self._view(height_px, width_px, header)
        except NoPositionError as error:
            observed.missing.append(str(error))
            return observed
        for obj in result.objects:
            if not obj.visible:
                continue
            try:
                observed.surfaces[obj.id] = measure_points(obj, depth, intrinsics)
            except NoPositionError as error:
                observed.missing.append(f"'{obj.id}' has no position: {error}")
        return observed

    def transform(self, observed: ObservedImage) -> Transform:
        """The transform from the image's frame to the target frame at its stamp; raises as `Transforms.at`."""
        if self._transforms is None or not observed.surfaces:
            return IDENTITY
        return self._transforms.at(observed.header)

    def locate(
        self,
        observed: ObservedImage,
        transform: Transform | NoPositionError,
        waited_s: float = 0.0,
        oriented: bool = False,
    ) -> ObjectLocations:
        """The locations of the observed surfaces, given the transform or the reason why there is none.

        Call in the order of the images, because of the velocities. `waited_s`: seconds waited for the transform.
        `oriented`: find the objects' own axes, too, which takes 1 to 2 ms an object.
        """
        frame_id = self._target_frame or observed.header.frame_id
        missing = list(observed.missing)
        locations: dict[str, Location] = {}
        if isinstance(transform, NoPositionError):
            missing.append(
                overdue(transform, waited_s) if isinstance(transform, NotYetError) else str(transform)
            )
            self._log.warning(missing[-1], throttle_duration_sec=WARNING_PERIOD_S)
        with self._lock:
            if frame_id != self._frame_id:
                self._velocities.clear()
                self._orientations.clear()
                self._frame_id = frame_id
            self._velocities.keep(set(observed.labels.values()))
            self._orientations.keep(set(observed.labels.values()))
            if isinstance(transform, Transform):
                for object_id, points in observed.surfaces.items():
                    label = observed.labels[object_id]
                    find = partial(self._orientations.find, label) if oriented else None
                    location = points.located(transform, find)
                    locations[object_id] = self._followed(label, observed.stamp_s, location)
            reason = "; ".join(missing)
            self._reasons.append(reason)
            self._counts.update(
                images=1,
                images_lacking_positions=bool(missing),
                images_lacking_transform=not isinstance(transform, Transform),
                images_waited_for_tf=waited_s > 0,
            )
        return ObjectLocations(frame_id, locations, "" if locations else reason)

    def _followed(self, label: int, stamp_s: float, location: Location) -> Location:
        """The location with what needs earlier images: its velocity, and the scatter of its position."""
        velocity = self._velocities.update(label, stamp_s, location.position_xyz)
        return replace(
            location,
            velocity_xyz=velocity,
            stddev_m=max(location.stddev_m, self._velocities.scatter_m(label)),
        )

    def whole_surface(
        self, obj: TrackedObject, height_px: int, width_px: int, header: Any
    ) -> tuple[str, ObjectPoints, Transform]:
        """Frame, every point of a visible object's surface in the camera's frame, and the transform to the frame.

        Raises NoPositionError, or NotYetError while tf does not reach the stamp.
        """
        transform = IDENTITY if self._transforms is None else self._transforms.at(header)
        depth, intrinsics = self._view(height_px, width_px, header)
        points = measure_points(obj, depth, intrinsics, max_samples=math.inf)
        return self._target_frame or header.frame_id, points, transform

    def _view(self, height_px: int, width_px: int, header: Any) -> tuple[DepthImage, Intrinsics]:
        """The depth image and the intrinsics of an image. Raises NoPositionError."""
        stamp_ns = stamp_to_ns(header.stamp)
        message = self._sources.depth_at(stamp_ns)
        check_registered(message, height_px, width_px, header.frame_id)
        depth = DepthImage(message, self._divisor)
        info = self._sources.info_at(stamp_ns, header.frame_id)
        return depth, Intrinsics(info, height_px, width_px, self._rectified)

    def line(self) -> StatusLine:
        """The status "depth": WARN with the reason if more than TOLERATED_SHARE of the last images lack positions."""
        with self._lock:
            reasons, counts = list(self._reasons), dict(self._counts)
        values = {
            "depth_topic": self._sources.depth_topic,
            "camera_info_topic": self._sources.info_topic,
            **{name: str(count) for name, count in counts.items()},
        }
        if not reasons:
            return StatusLine("depth", OK, "no image has been tracked yet", values)
        said = [reason for reason in reasons if reason]
        if len(said) <= TOLERATED_SHARE * len(reasons):
            return StatusLine("depth", OK, "visible objects have positions", values)
        share = f"{len(said)} of the last {len(reasons)} images lack positions"
        return StatusLine("depth", WARN, f"{share}: {said[-1]}{self._sources.silence()}", values)
