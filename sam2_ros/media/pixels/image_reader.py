# SPDX-License-Identifier: Apache-2.0
"""Reads the images of one stream to RGB: its options, its warnings, and the range of values it found.

Knows messages by their fields only (rosbags or rclpy), and files by their bytes; imports no ROS.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam2_ros.media.ros_image import (
    UNTYPED_COLOURS,
    compressed_to_rgb,
    image_to_rgb,
    is_read,
    says_no_colours,
)

from .image_error import ImageError
from .value_range import FULL, ValueRange

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PixelConfig:
    """What pixel values mean where the images do not say. Raises ImageError.

    Attributes:
        value_range: how more than 8 bits become 8: full, percentiles, or LOW,HIGH (see `ValueRange`).
        untyped: what the channels of 8UC3 and 8UC4 images are: bgr or rgb.
    """

    value_range: str = FULL
    untyped: str = UNTYPED_COLOURS[0]

    def __post_init__(self) -> None:
        ValueRange(self.value_range)
        if self.untyped not in UNTYPED_COLOURS:
            raise ImageError(
                f"untyped encoding '{self.untyped}', expected one of {', '.join(UNTYPED_COLOURS)}"
            )


class ImageReader:
    """One for each stream; safe to call from several threads. `warn` is told each thing once."""

    def __init__(
        self, config: PixelConfig | None = None, warn: Callable[[str], object] = _log.warning
    ) -> None:
        self.config = config or PixelConfig()
        self._warn = warn
        self._values = ValueRange(self.config.value_range, warn)
        self._told_untyped = False

    def message(self, message: Any) -> np.ndarray:
        """An Image or CompressedImage message as [H, W, 3] uint8 RGB, as stored: CameraInfo describes these pixels.

        Raises ImageError.
        """
        if not hasattr(message, "encoding"):
            return compressed_to_rgb(message.data, message.format, values=self._values)
        image_rgb = image_to_rgb(
            message.height,
            message.width,
            message.encoding,
            message.is_bigendian,
            message.step,
            message.data,
            self._values,
            self.config.untyped,
        )
        if not self._told_untyped and says_no_colours(message.encoding):
            self._told_untyped = True
            other = "rgb" if self.config.untyped == "bgr" else "bgr"
            self._warn(
                f"images of encoding {message.encoding} do not say what their channels are: read as "
                f"{self.config.untyped}; if red and blue are swapped, give --untyped-encoding {other} (of the node: "
                "parameter untyped_encoding), or let the camera publish bgr8 or rgb8"
            )
        return image_rgb

    def file(self, data: bytes) -> np.ndarray:
        """The bytes of a picture's file as [H, W, 3] uint8 RGB, upright as viewers show it. Raises ImageError."""
        return compressed_to_rgb(data, upright=True, values=self._values)

    def reads(self, encoding: str) -> bool:
        """True for an encoding of sensor_msgs/Image that `message` reads."""
        return is_read(encoding, self._values)
