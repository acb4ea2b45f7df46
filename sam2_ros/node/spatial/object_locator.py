# SPDX-License-Identifier: Apache-2.0
"""Locates every visible object of an image in space, from depth_image, camera_info and tf.

Knows no tracker and publishes nothing. Images alone drive it: what is not there at an image's turn costs the
position, never the track, and is said on /diagnostics.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from sam2_ros.engine import FrameResult
from sam2_ros.node.convert import stamp_to_ns
from sam2_ros.node.diagnostics import OK, WARN, StatusLine

from .depth import DepthImage, check_registered
from .depth_subscriptions import DepthSubscriptions
from .intrinsics import Intrinsics
from .location import Location, NoPositionError, NotYetError, ObjectLocations
from .object_points import ObjectPoints, measure_points
from .transform import IDENTITY, Transform, Transforms, overdue
from .velocity import VelocityEstimator

JUDGED_IMAGES = 30  # diagnostics look at so many images ...
TOLERATED_SHARE = 0.1  # ... of which so many may be without positions: a best-effort depth image gets lost
WARNING_PERIOD_S = 10.0  # of a transform that does not come; diagnostics say it once a second


@dataclass(frozen=True)
class ObservedImage:
    """What the camera saw in one image, in its own frame.

    Attributes:
        header: the image's.
        stamp_s: the image's time, for velocities.
        labels: of all objects by id, the hidden ones included.
        surfaces: by id, of the visible objects whose depth says enough.
        missing: why others have no position.
    """

    header: Any
    stamp_s: float
    labels: dict[str, int]
    surfaces: dict[str, ObjectPoints]
    missing: list[str]

    def only(self, ids: Collection[str]) -> ObservedImage:
        """This without other objects than these."""
        return replace(
            self,
            labels={object_id: label for object_id, label in self.labels.items() if object_id in ids},
            surfaces={object_id: points for object_id, points in self.surfaces.items() if object_id in ids},
        )


class ObjectLocator:
    """Two steps for each image: `observe` needs its depth, `locate` the transform, which may come later.

    `observe` belongs to one thread, `locate` to one at a time, all else to any.

    Args:
        node: subscribes to `depth_image` and `camera_info`, and to tf when there is a target frame.
        depth_image_units_divisor: turns a 16-bit depth value into metres.
        depth_slop: seconds that an image and its depth image may be apart.
        target_frame: of the positions; empty is the image's own frame.
        rectified: the image is rectified: it is described by the P of its camera_info, without distortion.

    Raises UserError without message_filters, or tf2_ros when there is a target frame.
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
        self._lock = threading.Lock()  # of what follows
        self._velocities = VelocityEstimator()
        self._frame_id = ""
        self._reasons: deque[str] = deque(maxlen=JUDGED_IMAGES)  # "" for an image that lacks nothing
        self._counts = Counter(
            images=0, images_lacking_positions=0, images_lacking_transform=0, images_waited_for_tf=0
        )

    def destroy(self) -> None:
        self._sources.destroy()
        if self._transforms is not None:
            self._transforms.destroy()

    def discontinuity(self) -> None:
        """Time or the camera jumped: forget velocities, depth and transforms."""
        self._sources.discontinuity()
        if self._transforms is not None:
            self._transforms.forget()
        with self._lock:
            self._velocities.clear()

    def observe(self, result: FrameResult, height_px: int, width_px: int, header: Any) -> ObservedImage:
        """What the camera sees of the visible objects of one image, given its result, its size and its header."""
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
        """From the image's frame to the target frame at the image's stamp, as `Transforms.at` has it."""
        if self._transforms is None or not observed.surfaces:
            return IDENTITY
        return self._transforms.at(observed.header)

    def locate(
        self, observed: ObservedImage, transform: Transform | NoPositionError, waited_s: float = 0.0
    ) -> ObjectLocations:
        """The places of what was seen, given the transform or why there is none, `waited_s` after it was asked for.

        Images must come in their order, for the velocities.
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
                self._frame_id = frame_id
            self._velocities.keep(set(observed.labels.values()))
            if isinstance(transform, Transform):
                for object_id, points in observed.surfaces.items():
                    location = points.located(transform)
                    velocity = self._velocities.update(
                        observed.labels[object_id], observed.stamp_s, location.position_xyz
                    )
                    locations[object_id] = replace(location, velocity_xyz=velocity)
            reason = "; ".join(missing)
            self._reasons.append(reason)
            self._counts.update(
                images=1,
                images_lacking_positions=bool(missing),
                images_lacking_transform=not isinstance(transform, Transform),
                images_waited_for_tf=waited_s > 0,
            )
        return ObjectLocations(frame_id, locations, "" if locations else reason)

    def _view(self, height_px: int, width_px: int, header: Any) -> tuple[DepthImage, Intrinsics]:
        """What the image is seen with."""
        stamp_ns = stamp_to_ns(header.stamp)
        message = self._sources.depth_at(stamp_ns)
        check_registered(message, height_px, width_px, header.frame_id)
        depth = DepthImage(message, self._divisor)
        info = self._sources.info_at(stamp_ns, header.frame_id)
        return depth, Intrinsics(info, height_px, width_px, self._rectified)

    def line(self) -> StatusLine:
        """OK, or WARN with the reason when more than a few of the last images lack positions."""
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
