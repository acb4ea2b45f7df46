# SPDX-License-Identifier: Apache-2.0
"""Converts incoming ROS messages: images to RGB arrays, prompt messages to engine prompts, stamps to nanoseconds.

Knows the field names of the messages; does not know which image a prompt will be applied to. Imports no ROS, except
cv_bridge for an encoding that only cv_bridge can read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sam2_ros.engine import Prompt, PromptError
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.pixels.image_reader import ImageReader
from sam2_ros.media.ros_image import as_uint8, unsupported_reason

from .limits import Limits
from .prompt_queue import PromptRequest

MASK_ENCODINGS = ("mono8", "8UC1")


def stamp_to_ns(stamp: Any) -> int:
    """A builtin_interfaces/Time in nanoseconds; 0 if it is not set."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


class ImageDecoder:
    """Reads the images of one stream. `images` holds its pixel options, and what it has warned of already."""

    def __init__(self, images: ImageReader) -> None:
        self.images = images

    def to_rgb(self, message: Any) -> np.ndarray:
        """A sensor_msgs/Image or CompressedImage as [H, W, 3] uint8 RGB; ImageError if it cannot be read."""
        if hasattr(message, "encoding") and not self.images.reads(message.encoding):
            return _through_cv_bridge(message)
        return self.images.message(message)


def _through_cv_bridge(message: Any) -> np.ndarray:
    """Read an encoding that ImageReader does not know with cv_bridge, if that is installed and knows it."""
    unknown = unsupported_reason(message.encoding)
    try:
        from cv_bridge import CvBridge
    except Exception as error:  # missing, or built against another NumPy or OpenCV, which may raise anything
        raise ImageError(f"{unknown}; convert it upstream (for example with image_proc)") from error
    try:
        return np.ascontiguousarray(CvBridge().imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:
        raise ImageError(f"{unknown}, and cv_bridge cannot read it: {error}; convert it upstream") from error


def prompt_request(
    message: Any, position: str, default_header: Any = None, limits: Limits | None = None
) -> PromptRequest:
    """A sam2_ros_msgs/Prompt as an engine prompt, with the stamp and frame of the image it was made on.

    Args:
        position: names a prompt without an id in error messages, such as "#2".
        default_header: used if the prompt's own stamp is zero.

    Raises:
        PromptError: the prompt exceeds `limits`, or its mask cannot be read. Everything else is checked later.
    """
    name = message.id or position
    (limits or Limits()).check_size(name, message.class_id, len(message.points))
    header = message.header
    if stamp_to_ns(header.stamp) == 0 and default_header is not None:
        header = default_header
    points = labels = None
    if len(message.points):
        points = np.array([(point.x, point.y) for point in message.points], dtype=np.float32)
        labels = np.array([int(point.positive) for point in message.points], dtype=np.int64)
    prompt = Prompt(
        id=name,
        points=points,
        labels=labels,
        box=tuple(float(edge) for edge in message.box) or None,  # type: ignore[arg-type]
        mask=_prompt_mask(message.mask, name),
        class_id=message.class_id,
        replace=bool(message.replace),
    )
    return PromptRequest(
        prompt=prompt,
        named=bool(message.id),
        stamp_ns=stamp_to_ns(header.stamp),
        frame_id=message.header.frame_id or header.frame_id,
    )


def _prompt_mask(image: Any, name: str) -> np.ndarray | None:
    """[H, W] bool from a mono8 sensor_msgs/Image; None if the message has no mask."""
    data = as_uint8(image.data)
    if data.size == 0 and image.height == 0 and image.width == 0:
        return None
    if image.encoding not in MASK_ENCODINGS:
        raise PromptError(
            f"prompt '{name}': mask with encoding '{image.encoding}'; expected mono8, non-zero = object"
        )
    step = image.step or image.width
    if image.height == 0 or image.width == 0 or step < image.width or data.size < step * image.height:
        raise PromptError(
            f"prompt '{name}': mask of {image.width} x {image.height} pixels with step {image.step} and "
            f"{data.size} bytes; expected height * step bytes"
        )
    rows = data[: step * image.height].reshape(image.height, step)
    return rows[:, : image.width] != 0
