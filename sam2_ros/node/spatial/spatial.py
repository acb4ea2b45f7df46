"""Gives every visible object of an image its place in space, from depth_image, camera_info and tf.

Knows no tracker and publishes nothing. Images alone drive it: what is not there at an image's turn costs the
position, never the track, and is said on /diagnostics.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

from sam2_ros.engine import FrameResult, TrackedObject
from sam2_ros.node.convert import stamp_to_ns
from sam2_ros.node.diagnostics import OK, WARN, Line
from sam2_ros.node.spatial.depth import DepthImage, check_registered
from sam2_ros.node.spatial.intrinsics import Camera
from sam2_ros.node.spatial.location import Location, NoPositionError, SpatialResult
from sam2_ros.node.spatial.place import locate_object
from sam2_ros.node.spatial.sources import Sources
from sam2_ros.node.spatial.transform import IDENTITY, Transform, Transforms
from sam2_ros.node.spatial.velocity import Velocities

JUDGED_IMAGES = 30  # diagnostics look at so many images ...
TOLERATED_SHARE = 0.1  # ... of which so many may be without positions: a best-effort depth image gets lost


class Spatial:
    """`locate` belongs to the worker's thread, all else to any.

    Args:
        node: subscribes to `depth_image` and `camera_info`, and to tf when there is a target frame.
        depth_image_units_divisor: turns a 16-bit depth value into metres.
        depth_slop: seconds that an image and its depth image may be apart.
        target_frame: of the positions; empty is the image's own frame.
        rectified: the image is rectified: it is described by the P of its camera_info, without distortion.

    Raises MissingPackageError without message_filters, or tf2_ros when there is a target frame.
    """

    def __init__(
        self,
        node: Any,
        depth_image_units_divisor: int,
        depth_slop: float,
        target_frame: str,
        rectified: bool,
    ) -> None:
        self._divisor = depth_image_units_divisor
        self._target_frame = target_frame
        self._rectified = rectified
        self._transforms = Transforms(node, target_frame) if target_frame else None
        try:
            self._sources = Sources(node, depth_slop)
        except Exception:
            if self._transforms is not None:
                self._transforms.destroy()
            raise
        self._lock = threading.Lock()  # of what follows
        self._velocities = Velocities()
        self._frame_id = ""
        self._reasons: deque[str] = deque(maxlen=JUDGED_IMAGES)  # "" for an image that lacks nothing
        self._images = 0
        self._images_lacking = 0

    def destroy(self) -> None:
        self._sources.destroy()
        if self._transforms is not None:
            self._transforms.destroy()

    def discontinuity(self) -> None:
        """Time or the camera jumped: forget velocities, depth and transforms."""
        self._sources.discontinuity()
        if self._transforms is not None:
            self._transforms.forget()
        self.reset()

    def reset(self) -> None:
        """Forget velocities."""
        with self._lock:
            self._velocities.clear()

    def locate(self, result: FrameResult, image_rgb: np.ndarray, header: Any) -> SpatialResult:
        """The places of the visible objects of one image, given its result, its pixels and its header."""
        frame_id = self._target_frame or header.frame_id
        with self._lock:
            if frame_id != self._frame_id:
                self._velocities.clear()
                self._frame_id = frame_id
            self._velocities.keep({obj.label for obj in result.objects})
        locations: dict[str, Location] = {}
        missing: list[str] = []
        try:
            view = self._view(image_rgb.shape[0], image_rgb.shape[1], header)
        except NoPositionError as error:
            missing.append(str(error))
        else:
            for obj in result.objects:
                if not obj.visible:
                    continue
                try:
                    locations[obj.id] = self._locate_one(obj, result.stamp_s, *view)
                except NoPositionError as error:
                    missing.append(f"'{obj.id}' has no position: {error}")
        reason = "; ".join(missing)
        with self._lock:
            self._reasons.append(reason)
            self._images += 1
            self._images_lacking += bool(missing)
        return SpatialResult(frame_id, locations, "" if locations else reason)

    def _view(self, height_px: int, width_px: int, header: Any) -> tuple[DepthImage, Camera, Transform]:
        """What the image is seen with."""
        stamp_ns = stamp_to_ns(header.stamp)
        message = self._sources.depth_at(stamp_ns)
        check_registered(message, height_px, width_px, header.frame_id)
        depth = DepthImage(message, self._divisor)
        info = self._sources.info_at(stamp_ns, header.frame_id)
        camera = Camera(info, height_px, width_px, self._rectified)
        transform = self._transforms.at(header) if self._transforms is not None else IDENTITY
        return depth, camera, transform

    def _locate_one(
        self, obj: TrackedObject, stamp_s: float, depth: DepthImage, camera: Camera, transform: Transform
    ) -> Location:
        location = locate_object(obj, depth, camera, transform)
        with self._lock:
            velocity = self._velocities.update(obj.label, stamp_s, location.position_xyz)
        return replace(location, velocity_xyz=velocity)

    def line(self) -> Line:
        """OK, or WARN with the reason when more than a few of the last images lack positions."""
        with self._lock:
            reasons, images, lacking = list(self._reasons), self._images, self._images_lacking
        values = {
            "depth_topic": self._sources.depth_topic,
            "camera_info_topic": self._sources.info_topic,
            "images": str(images),
            "images_lacking_positions": str(lacking),
        }
        if not reasons:
            return Line("depth", OK, "no image has been tracked yet", values)
        said = [reason for reason in reasons if reason]
        if len(said) <= TOLERATED_SHARE * len(reasons):
            return Line("depth", OK, "visible objects have positions", values)
        share = f"{len(said)} of the last {len(reasons)} images lack positions"
        return Line("depth", WARN, f"{share}: {said[-1]}{self._sources.silence()}", values)
