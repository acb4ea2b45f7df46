# SPDX-License-Identifier: Apache-2.0
"""Makes rclpy messages from images and the engine's prompts.

Does not know when they are sent. Importing this file needs no ROS; making a message does.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from sam2_ros.engine import Prompt
from sam2_ros.media.frame_source import NS_PER_S
from sam2_ros.media.messages.prompt import fill_prompt
from sam2_ros.media.ros_image import rgb_to_image_fields


def camera_image(image_hw3: np.ndarray, frame_id: str) -> Any:
    """``[H, W, 3]`` uint8 RGB as a sensor_msgs/Image without a stamp."""
    from sensor_msgs.msg import Image

    fields = rgb_to_image_fields(image_hw3)
    message = Image(height=fields.height, width=fields.width, encoding=fields.encoding, step=fields.step)
    message.header.frame_id = frame_id
    message.data = array.array("B", fields.data.tobytes())
    return message


def prompt_message(prompts: Sequence[Prompt], stamp_ns: int, frame_id: str) -> Any:
    """Prompts on the image of this stamp and frame_id, as one sam2_ros_msgs/PromptArray."""
    from sam2_ros_msgs.msg import Prompt as PromptMessage
    from sam2_ros_msgs.msg import PromptArray, PromptPoint

    array_message = PromptArray()
    _fill_header(array_message.header, stamp_ns, frame_id)
    for prompt in prompts:
        message = fill_prompt(PromptMessage(), prompt, PromptPoint)
        _fill_header(message.header, stamp_ns, frame_id)
        array_message.prompts.append(message)
    return array_message


def _fill_header(header: Any, stamp_ns: int, frame_id: str) -> None:
    header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, NS_PER_S)
    header.frame_id = frame_id
