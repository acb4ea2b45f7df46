# SPDX-License-Identifier: Apache-2.0
"""Transforms between frames, and from the camera's frame to a target frame, looked up in tf2 without waiting.

Knows the fields of a TransformStamped; does not know what is transformed. Its errors say whether a later look-up may
succeed; callers repeat it. Only `TfBuffer` imports tf2_ros.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam2_ros.node.convert import stamp_to_ns
from sam2_ros.node.packages import require

from .location import NoPositionError, NotYetError

SILENCE_S = 1.0  # a transform is not waited for if tf had nothing new for this long


@dataclass(frozen=True)
class Transform:
    """rotation: ``[3, 3]``; translation: ``[3]`` metres."""

    rotation: np.ndarray
    translation: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """[n, 3] or [3] points, transformed to the target frame."""
        return points @ self.rotation.T + self.translation


IDENTITY = Transform(np.eye(3), np.zeros(3))


def transform_of(message: Any) -> Transform:
    """A geometry_msgs/Transform as a Transform; NoPositionError if it is not finite or has no valid quaternion."""
    q, t = message.rotation, message.translation
    quaternion = np.array([q.x, q.y, q.z, q.w])
    norm = float(np.linalg.norm(quaternion))
    translation = np.array([t.x, t.y, t.z])
    if not (np.isfinite(translation).all() and np.isfinite(norm) and norm > 1e-6):
        raise NoPositionError(
            f"tf gives the rotation {quaternion.tolist()} and translation {translation.tolist()}, expected a "
            "unit quaternion and finite numbers: fix the node that broadcasts it"
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


class TfBuffer:
    """A tf2 listener. Raises UserError if tf2_ros is not installed; `wanted_by` names the feature that needs it."""

    def __init__(self, node: Any, wanted_by: str) -> None:
        self.tf2 = require("tf2_ros", "tf2_ros", wanted_by)
        self._buffer = self.tf2.Buffer()
        self._listener = self.tf2.TransformListener(self._buffer, node)

    def destroy(self) -> None:
        self._listener.unregister()

    def forget(self) -> None:
        """Clear the buffer after a jump in time; static transforms stay."""
        self._buffer.clear()

    def look_up(self, target_frame: str, source_frame: str, stamp_ns: int) -> Transform:
        """The transform from one frame to another at a stamp; 0 = the newest.

        Raises tf2's TransformException if it is not there, NoPositionError if it is no transform.
        """
        from rclpy.clock import ClockType
        from rclpy.time import Time

        stamp = Time(nanoseconds=stamp_ns, clock_type=ClockType.ROS_TIME)
        found = self._buffer.lookup_transform(target_frame, source_frame, stamp)
        return transform_of(found.transform)

    def newest_ns(self, target_frame: str, source_frame: str) -> int | None:
        """Stamp of the newest transform between the frames, 0 if all are static; None if tf does not connect them."""
        try:
            return int(self._buffer.get_latest_common_time(target_frame, source_frame).nanoseconds)
        except self.tf2.TransformException:
            return None


class Transforms:
    """Transforms to one target frame. Raises UserError if tf2_ros is not installed.

    Attributes:
        tf: the listener.
    """

    def __init__(self, node: Any, target_frame: str) -> None:
        self.tf = TfBuffer(node, f"target_frame = '{target_frame}'")
        self._target_frame = target_frame
        # Stamp of the newest transform, and when it was first seen as the newest.
        self._newest: tuple[int | None, float] | None = None

    def destroy(self) -> None:
        self.tf.destroy()

    def forget(self) -> None:
        """Clear the tf2 buffer after a jump in time; static transforms stay."""
        self.tf.forget()
        self._newest = None

    def at(self, header: Any) -> Transform:
        """The transform from the header's frame to the target frame at the header's stamp.

        Raises:
            NotYetError: it may still come: tf does not reach the stamp yet, or does not know the frames yet.
            NoPositionError: it will not come: tf's buffer begins after the stamp, or tf is silent.
        """
        if header.frame_id == self._target_frame:
            return IDENTITY
        tf, frame_id, stamp_ns = self.tf, header.frame_id, stamp_to_ns(header.stamp)
        try:
            return tf.look_up(self._target_frame, frame_id, stamp_ns)
        except tf.tf2.TransformException:
            newest_ns = tf.newest_ns(self._target_frame, frame_id)
        try:
            # Again: it may have come between the two calls.
            return tf.look_up(self._target_frame, frame_id, stamp_ns)
        except tf.tf2.TransformException as error:
            reason = (
                f"tf has no transform from '{frame_id}' to target_frame '{self._target_frame}' at the "
                f"image's stamp: {str(error).strip()}"
            )
            past = newest_ns is not None and newest_ns >= stamp_ns
            if past or isinstance(error, tf.tf2.InvalidArgumentException):
                raise NoPositionError(reason) from error
            if (silent_s := self._silent_s(newest_ns)) > SILENCE_S:
                raise NoPositionError(
                    f"{reason}; no new transform for {silent_s:.1f} s: its broadcaster is silent, or target_frame is "
                    "misspelt"
                ) from error
            behind_s = (stamp_ns - newest_ns) / 1e9 if newest_ns is not None else None
            raise NotYetError(reason, behind_s) from error

    def _silent_s(self, newest_ns: int | None) -> float:
        """Seconds since this stamp was first seen as the newest."""
        now_s, seen = time.monotonic(), self._newest
        if seen is None or seen[0] != newest_ns:
            self._newest = seen = (newest_ns, now_s)
        return now_s - seen[1]


def overdue(error: NotYetError, waited_s: float) -> str:
    """Error message for an image without a position after a wait, with the remedy."""
    if error.behind_s is None:
        return f"{error}; waited {waited_s:.2f} s"
    late_s = waited_s + error.behind_s  # tf advances at the pace of the clock
    return (
        f"tf comes late: {waited_s:.2f} s after the result, its newest transform was still {error.behind_s:.3f} s "
        f"older than the image: raise tf_timeout, for example to {math.ceil(15 * late_s) / 10:.1f}. {error}"
    )
