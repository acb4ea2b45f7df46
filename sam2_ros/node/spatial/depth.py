# SPDX-License-Identifier: Apache-2.0
"""A depth image in its message's encoding, converted to metres only for the pixels that are read.

Knows the field names of sensor_msgs/Image, imports no ROS, and does not know which pixels matter. The values stay a
view of the message's bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sam2_ros.media.ros_image import as_uint8

from .location import NoPositionError

_TYPES = {"16UC1": "u2", "32FC1": "f4"}


class DepthImage:
    """A depth image; ``values`` is a ``[H, W]`` view of the message's bytes."""

    def __init__(self, message: Any, units_divisor: int) -> None:
        """Raises NoPositionError for an encoding other than those of REP 118, or sizes that do not fit the data."""
        if message.encoding not in _TYPES:
            raise NoPositionError(
                f"depth image has encoding '{message.encoding}', expected 16UC1 or 32FC1: is depth_image "
                "remapped to a depth topic?"
            )
        dtype = np.dtype((">" if message.is_bigendian else "<") + _TYPES[message.encoding])
        height_px, width_px, step = int(message.height), int(message.width), int(message.step)
        flat = as_uint8(message.data)
        row_bytes = width_px * dtype.itemsize
        # Some drivers leave out the padding of the last row.
        needed = step * (height_px - 1) + row_bytes
        if height_px < 1 or width_px < 1 or step < row_bytes or flat.size < needed:
            raise NoPositionError(
                f"depth image {width_px}x{height_px} {message.encoding} has step {step} and {flat.size} "
                f"bytes, expected at least {row_bytes} bytes per row: the message is truncated, or its sizes are "
                "wrong"
            )
        self.values: np.ndarray = np.ndarray(
            (height_px, width_px), dtype, flat, strides=(step, dtype.itemsize)
        )
        self._divisor = units_divisor

    def metres(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """[n] float32 depth along the optical axis in metres; NaN for pixels without a reading.

        No reading is encoded as 0 in integers, and as NaN, infinity, zero or a negative value in floats.
        """
        raw = self.values[rows, columns]
        metres = raw.astype(np.float32)
        if raw.dtype.kind == "u":
            metres /= np.float32(self._divisor)
        metres[~(np.isfinite(metres) & (metres > 0))] = np.nan
        return metres


def check_registered(message: Any, height_px: int, width_px: int, frame_id: str) -> None:
    """Raise NoPositionError unless the depth image has the size and frame of the camera image (registered depth)."""
    given = (f"{message.width}x{message.height}", message.header.frame_id)
    same_size = (message.height, message.width) == (height_px, width_px)
    same_frame = not given[1] or not frame_id or given[1] == frame_id
    if not (same_size and same_frame):
        raise NoPositionError(
            f"depth image is {given[0]} in frame '{given[1]}', expected it registered to the image, "
            f"{width_px}x{height_px} in frame '{frame_id}': use the camera's registered depth (RealSense: "
            "align_depth.enable and aligned_depth_to_color; ZED: depth/depth_registered; others: "
            "depth_image_proc's register node)"
        )
