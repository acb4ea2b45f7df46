# SPDX-License-Identifier: Apache-2.0
"""Transforms from the camera's frame to a target frame, looked up in tf2 without waiting.

Knows the fields of a TransformStamped; does not know what is transformed. Its errors say whether a later look-up may
succeed; callers repeat it. Only `Transforms` imports tf2_ros.
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


class Transforms:
    """A tf2 listener for one target frame. Raises UserError if tf2_ros is not installed."""

    def __init__(self, node: Any, target_frame: str) -> None:
        self._tf2 = require("tf2_ros", "tf2_ros", f"target_frame = '{target_frame}'")
        self._target_frame = target_frame
        self._buffer = self._tf2.Buffer()
        self._listener = self._tf2.TransformListener(self._buffer, node)
        # Stamp of the newest transform, and when it was first seen as the newest.
        self._newest: tuple[int | None, float] | None = None

    def destroy(self) -> None:
        self._listener.unregister()

    def forget(self) -> None:
        """Clear the tf2 buffer after a jump in time; static transforms stay."""
        self._buffer.clear()
        self._newest = None

    def at(self, header: Any) -> Transform:
        """The transform from the header's frame to the target frame at the header's stamp.

        Raises:
            NotYetError: it may still come: tf does not reach the stamp yet, or does not know the frames yet.
            NoPositionError: it will not come: tf's buffer begins after the stamp, or tf is silent.
        """
        if header.frame_id == self._target_frame:
            return IDENTITY
        try:
            return self._look_up(header)
        except self._tf2.TransformException:
            newest_ns = self._newest_ns(header.frame_id)
        try:
            return self._look_up(header)  # again: it may have come between the two calls
        except self._tf2.TransformException as error:
            stamp_ns = stamp_to_ns(header.stamp)
            reason = (
                f"tf has no transform from '{header.frame_id}' to target_frame '{self._target_frame}' at the "
                f"image's stamp: {str(error).strip()}"
            )
            past = newest_ns is not None and newest_ns >= stamp_ns
            if past or isinstance(error, self._tf2.InvalidArgumentException):
                raise NoPositionError(reason) from error
            if (silent_s := self._silent_s(newest_ns)) > SILENCE_S:
                raise NoPositionError(
                    f"{reason}; no new transform for {silent_s:.1f} s: its broadcaster is silent, or target_frame is "
                    "misspelt"
                ) from error
            behind_s = (stamp_ns - newest_ns) / 1e9 if newest_ns is not None else None
            raise NotYetError(reason, behind_s) from error

    def _look_up(self, header: Any) -> Transform:
        from rclpy.time import Time

        found = self._buffer.lookup_transform(
            self._target_frame, header.frame_id, Time.from_msg(header.stamp)
        )
        return transform_of(found.transform)

    def _newest_ns(self, frame_id: str) -> int | None:
        """Stamp of the newest transform between the frames; None if tf does not connect them."""
        try:
            return int(self._buffer.get_latest_common_time(self._target_frame, frame_id).nanoseconds)
        except self._tf2.TransformException:
            return None

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
