# SPDX-License-Identifier: Apache-2.0
"""Finds the pixel of a camera image that shows a point of the world, from camera_info and tf.

Knows frames and intrinsics; does not know what the pixel is for, and never waits: callers repeat what may still come.
It subscribes to camera_info, and to tf, with the first point that needs them: nobody else pays for them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam2_ros.engine import PromptError
from sam2_ros.media.pixels.encoded_picture import encoded_size
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.node.frame_history import FrameHistory, StampedImage
from sam2_ros.node.limits import shown

from .camera_infos import CameraInfos
from .intrinsics import Intrinsics
from .location import NoPositionError
from .object_locator import ObjectLocator
from .transform import IDENTITY, TfBuffer, Transform

DISCOVERY_S = 2.0  # after subscribing, until messages of every publisher have come


@dataclass(frozen=True)
class WorldPoint:
    """A point in metres in a tf frame, as it is at the stamp; stamp 0: now."""

    xyz: tuple[float, float, float]
    frame_id: str
    stamp_ns: int

    def __str__(self) -> str:
        x, y, z = self.xyz
        return f"({x:.3f}, {y:.3f}, {z:.3f}) m in frame '{shown(self.frame_id)}'"


@dataclass(frozen=True)
class Pixel:
    """The place of a point in an image: pixels, x to the right and y down."""

    x: float
    y: float
    image: StampedImage


class PointProjector:
    """Lives from configure to cleanup. All calls are made by the executor's thread.

    Args:
        node: subscribes to `camera_info` and tf.
        history: the camera's recent images.
        spatial: if there is one, its subscriptions are used.
        rectified: as for ObjectLocator.
    """

    def __init__(
        self,
        node: Any,
        history: FrameHistory,
        spatial: ObjectLocator | None,
        rectified: bool,
    ) -> None:
        self._node = node
        self._history = history
        self._rectified = rectified
        self._spatial = spatial
        self._own_infos: CameraInfos | None = None
        self._own_tf: TfBuffer | None = None
        self._restarts = history.restarts
        self.ready_s = 0.0
        """Steady time from which on what has not come will not come for lack of discovery."""

    def destroy(self) -> None:
        for subscription in (self._own_infos, self._own_tf):
            if subscription is not None:
                subscription.destroy()

    def pixel(self, point: WorldPoint) -> Pixel:
        """The pixel that shows the point, in the image of its stamp, or in the newest one that tf reaches.

        The second if the point's stamp is zero, or newer than the newest image: viewers stamp clicks with their own
        clock.

        Raises:
            NoPositionError: camera_info or a transform is missing, and may still come.
            PromptError: no pixel shows it.
        """
        self._follow_jumps()
        image, fixed = self._image(point)
        infos = self._infos()
        to_camera, image = self._to_camera(point, image, fixed)
        try:
            size_hw = _size_hw(image.message)
        except ImageError as error:
            raise PromptError(f"{point}: its image cannot be read: {error}") from error
        info = infos.at(image.stamp_ns, image.frame_id)
        xyz = to_camera.apply(np.array(point.xyz))
        ((x, y),) = Intrinsics(info, *size_hw, self._rectified).pixels(xyz).tolist()
        height_px, width_px = size_hw
        if not xyz[2] > 0:
            raise PromptError(
                f"{point} is {-xyz[2]:.2f} m behind the camera '{shown(image.frame_id)}', expected a point that it sees"
            )
        if not (0 <= x < width_px and 0 <= y < height_px):  # also NaN
            where = f"pixel ({x:.0f}, {y:.0f})" if np.isfinite(x) else "far beside its view"
            raise PromptError(
                f"{point} is outside the {width_px}x{height_px} image of '{shown(image.frame_id)}', at {where}; "
                "expected a point that the camera sees"
            )
        return Pixel(x, y, image)

    def _image(self, point: WorldPoint) -> tuple[StampedImage, bool]:
        """The image that a point is for, and whether its stamp says so. Raises PromptError."""
        newest = self._history.newest
        if newest is None:
            raise PromptError(f"{point}: no image has come yet; start the camera, then click again")
        if not newest.frame_id and point.frame_id:
            raise PromptError(
                f"{point}: the camera's images have no frame_id, so it cannot be found in them; let the camera's "
                "driver set one"
            )
        if not point.stamp_ns or point.stamp_ns > newest.stamp_ns:
            return newest, False
        image = self._history.nearest(point.stamp_ns)
        if image is None or image.stamp_ns - point.stamp_ns > self._history.tolerance_ns():
            age_s = (newest.stamp_ns - point.stamp_ns) / 1e9
            raise PromptError(
                f"{point} is stamped {age_s:.2f} s before the newest image; expected at most prompt_history = "
                f"{self._history.seconds:g} s; zero or a later stamp stand for the newest image"
            )
        return image, True

    def _to_camera(
        self, point: WorldPoint, image: StampedImage, fixed: bool
    ) -> tuple[Transform, StampedImage]:
        """The transform from the point's frame to the camera's at an image's stamp, and the image.

        tf comes later than the images, often by a few of them: unless the image is fixed, it is the newest one that tf
        reaches.
        """
        if point.frame_id == image.frame_id:
            return IDENTITY, image
        tf, camera = self._tf(), image.frame_id
        try:
            return tf.look_up(camera, point.frame_id, image.stamp_ns), image
        except tf.tf2.TransformException as error:
            reason = (
                f"tf has no transform from '{shown(point.frame_id)}' to the camera's frame '{shown(camera)}' at the "
                f"image's stamp: {str(error).strip()}"
            )
        earlier = None
        if not fixed and (newest_ns := tf.newest_ns(camera, point.frame_id)) is not None:
            earlier = self._history.nearest(newest_ns)
        if earlier is None or earlier.stamp_ns == image.stamp_ns:
            raise NoPositionError(reason)
        try:
            return tf.look_up(camera, point.frame_id, earlier.stamp_ns), earlier
        except tf.tf2.TransformException as error:
            raise NoPositionError(reason) from error

    def _infos(self) -> CameraInfos:
        if self._spatial is not None:
            return self._spatial.camera_infos
        if self._own_infos is None:
            self._own_infos = CameraInfos(self._node)
            self.ready_s = time.monotonic() + DISCOVERY_S
        return self._own_infos

    def _tf(self) -> TfBuffer:
        """Raises PromptError if tf2_ros is not installed."""
        if self._spatial is not None and self._spatial.tf is not None:
            return self._spatial.tf
        if self._own_tf is None:
            self._own_tf = TfBuffer(self._node, "a click in metres")
            self.ready_s = time.monotonic() + DISCOVERY_S
        return self._own_tf

    def _follow_jumps(self) -> None:
        """Time or the camera jumped: what is known of tf belongs to another time."""
        if self._history.restarts == self._restarts:
            return
        self._restarts = self._history.restarts
        if self._own_infos is not None:
            self._own_infos.discontinuity()
        if self._own_tf is not None:
            self._own_tf.forget()
            self.ready_s = time.monotonic() + DISCOVERY_S


def _size_hw(message: Any) -> tuple[int, int]:
    """(height, width) of an Image or a CompressedImage. Raises ImageError."""
    if hasattr(message, "encoding"):
        return message.height, message.width
    return encoded_size(message.data)
