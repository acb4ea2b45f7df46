"""From the camera's frame to another one: a rotation and a translation, asked of tf2 without ever waiting.

Knows the fields of a TransformStamped; does not know what is transformed. Imports tf2_ros only for a Transforms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sam2_ros.node.packages import require
from sam2_ros.node.spatial.location import NoPositionError


@dataclass(frozen=True)
class Transform:
    """rotation: ``[3, 3]``; translation: ``[3]`` metres."""

    rotation: np.ndarray
    translation: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """[n, 3] or [3] points in the other frame."""
        return points @ self.rotation.T + self.translation


IDENTITY = Transform(np.eye(3), np.zeros(3))


def transform_of(message: Any) -> Transform:
    """A geometry_msgs/Transform; NoPositionError when its quaternion is none."""
    q, t = message.rotation, message.translation
    quaternion = np.array([q.x, q.y, q.z, q.w])
    norm = float(np.linalg.norm(quaternion))
    translation = np.array([t.x, t.y, t.z])
    if not (np.isfinite(translation).all() and np.isfinite(norm) and norm > 1e-6):
        raise NoPositionError(
            f"tf gives the rotation {quaternion.tolist()} and translation {translation.tolist()}, expected a "
            "unit quaternion and finite numbers: mend whoever broadcasts it"
        )
    x, y, z, w = quaternion / norm
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return Transform(rotation, translation)


class Transforms:
    """A tf2 listener for one target frame. Raises MissingPackageError without tf2_ros."""

    def __init__(self, node: Any, target_frame: str) -> None:
        self._tf2 = require("tf2_ros", "tf2_ros", f"target_frame = '{target_frame}'")
        self._target_frame = target_frame
        self._buffer = self._tf2.Buffer()
        self._listener = self._tf2.TransformListener(self._buffer, node)

    def destroy(self) -> None:
        self._listener.unregister()

    def forget(self) -> None:
        """After a jump in time: tf2 answers only with what came since; static transforms stay."""
        self._buffer.clear()

    def at(self, header: Any) -> Transform:
        """From the header's frame to the target at its stamp; NoPositionError when tf2 does not know it."""
        from rclpy.time import Time

        try:
            found = self._buffer.lookup_transform(
                self._target_frame, header.frame_id, Time.from_msg(header.stamp)
            )
        except self._tf2.TransformException as error:
            raise NoPositionError(
                f"tf has no transform from '{header.frame_id}' to target_frame '{self._target_frame}' at the "
                f"image's stamp: {error}"
            ) from error
        return transform_of(found.transform)
