# SPDX-License-Identifier: Apache-2.0
"""Converts a prompt to plain field values of `sam2_ros_msgs/Prompt`, and back.

Knows neither rclpy nor rosbags: it fills and reads the message classes of both.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from sam2_ros.engine import Prompt
from sam2_ros.media.ros_image import as_uint8


def fill_prompt(message: Any, prompt: Prompt, point_type: Any) -> Any:
    """Fill all fields of a Prompt message but its header. `point_type`: class of PromptPoint. Returns the message."""
    message.id, message.class_id, message.replace = prompt.id, prompt.class_id, bool(prompt.replace)
    if prompt.box is not None:
        message.box = array("f", prompt.box)
    if prompt.points is not None:
        labels = np.ones(len(prompt.points)) if prompt.labels is None else prompt.labels
        message.points = [
            point_type(x=float(x), y=float(y), positive=bool(label))
            for (x, y), label in zip(prompt.points, labels, strict=True)
        ]
    if prompt.mask is not None:
        height_px, width_px = prompt.mask.shape
        message.mask.height, message.mask.width, message.mask.step = height_px, width_px, width_px
        message.mask.encoding = "mono8"
        message.mask.data = array("B", (prompt.mask > 0).astype("u1").tobytes())
    return message


def read_prompt(message: Any) -> Prompt:
    """The prompt of a Prompt message (rclpy or rosbags). Raises ValueError if its mask is not one byte a pixel."""
    points = labels = None
    if len(message.points):
        points = np.array([(point.x, point.y) for point in message.points], np.float32)
        labels = np.array([int(point.positive) for point in message.points], np.int64)
    mask, image = None, message.mask
    if image.height and image.width:
        data = as_uint8(image.data)
        if image.step < image.width or data.size < image.step * image.height:
            raise ValueError(
                f"mask of {image.width}x{image.height} with {data.size} bytes, expected one byte a pixel"
            )
        mask = data[: image.step * image.height].reshape(image.height, image.step)[:, : image.width] != 0
    box: Any = tuple(float(edge) for edge in message.box) or None
    return Prompt(str(message.id), points, labels, box, mask, str(message.class_id), bool(message.replace))
