"""Makes rclpy messages out of a bag's images and the engine's prompts, and reads stamps off serialized ones.

Does not know when anything is sent. Importing it needs no ROS; making a message does.
"""

from __future__ import annotations

import array
import struct
from collections.abc import Sequence
from typing import Any

from sam2_ros.engine import Prompt


def header_stamp_ns(cdr: bytes) -> int:
    """The stamp of a serialized message that begins with a std_msgs/Header.

    Four bytes of encapsulation (second one odd: little-endian), then int32 seconds and uint32 nanoseconds.
    """
    seconds, nanoseconds = struct.unpack_from("<iI" if cdr[1] & 1 else ">iI", cdr, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def header_to_ns(header: Any) -> int:
    """Stamp of a std_msgs/Header, rclpy's or rosbags', in nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def image_message(recorded: Any) -> Any:
    """A bag's sensor_msgs/Image as rclpy's."""
    from sensor_msgs.msg import Image

    message = Image(
        height=int(recorded.height),
        width=int(recorded.width),
        encoding=str(recorded.encoding),
        is_bigendian=int(recorded.is_bigendian),
        step=int(recorded.step),
    )
    _copy_header(recorded.header, message.header)
    data = array.array("B")
    data.frombytes(memoryview(recorded.data).cast("B"))
    message.data = data  # an array is taken over as it is; any other sequence is checked element by element
    return message


def prompt_message(prompts: Sequence[Prompt], header: Any) -> Any:
    """Prompts as one sam2_ros_msgs/PromptArray, made on the image that `header` belongs to."""
    from sam2_ros_msgs.msg import Prompt as PromptMessage
    from sam2_ros_msgs.msg import PromptArray, PromptPoint

    array_message = PromptArray()
    _copy_header(header, array_message.header)
    for prompt in prompts:
        message = PromptMessage(id=prompt.id, class_id=prompt.class_id, replace=prompt.replace)
        _copy_header(header, message.header)
        if prompt.box is not None:
            message.box = array.array("f", prompt.box)
        if prompt.points is not None:
            labels = [1] * len(prompt.points) if prompt.labels is None else prompt.labels
            message.points = [
                PromptPoint(x=float(x), y=float(y), positive=bool(label))
                for (x, y), label in zip(prompt.points, labels, strict=True)
            ]
        if prompt.mask is not None:
            height_px, width_px = prompt.mask.shape
            message.mask.height, message.mask.width, message.mask.step = height_px, width_px, width_px
            message.mask.encoding = "mono8"
            message.mask.data = array.array("B", (prompt.mask > 0).astype("u1").tobytes())
        array_message.prompts.append(message)
    return array_message


def _copy_header(source: Any, target: Any) -> None:
    target.stamp.sec, target.stamp.nanosec = int(source.stamp.sec), int(source.stamp.nanosec)
    target.frame_id = str(source.frame_id)
