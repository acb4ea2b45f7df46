# SPDX-License-Identifier: Apache-2.0
"""Converts the images of one stream to RGB: holds its options, its warnings and its range of values.

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
    has_untyped_channels,
    image_to_rgb,
    is_supported,
)

from .image_error import ImageError
from .value_range import FULL, ValueRange

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PixelConfig:
    """The meaning of pixel values that the images do not define. Raises ImageError.

    Attributes:
        value_range: how more than 8 bits become 8: full, percentiles, or LOW,HIGH (see `ValueRange`).
        untyped: channel order of 8UC3 and 8UC4 images: bgr or rgb.
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
    """Use one for each stream; thread-safe. `warn` is called once for each problem."""

    def __init__(
        self, config: PixelConfig | None = None, warn: Callable[[str], object] = _log.warning
    ) -> None:
        self.config = config or PixelConfig()
        self._warn = warn
        self._values = ValueRange(self.config.value_range, warn)
        self._warned_untyped = False

    def message(self, message: Any) -> np.ndarray:
        """Convert an Image or CompressedImage message to [H, W, 3] uint8 RGB, without EXIF rotation.

        CameraInfo describes the pixels as stored. Raises ImageError.
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
        if not self._warned_untyped and has_untyped_channels(message.encoding):
            self._warned_untyped = True
            other = "rgb" if self.config.untyped == "bgr" else "bgr"
            self._warn(
                f"images of encoding {message.encoding} do not say what their channels are: read as "
                f"{self.config.untyped}; if red and blue are swapped, give --untyped-encoding {other} (of the node: "
                "parameter untyped_encoding), or let the camera publish bgr8 or rgb8"
            )
        return image_rgb

    def file(self, data: bytes) -> np.ndarray:
        """Decode the bytes of an image file to [H, W, 3] uint8 RGB, rotated by its EXIF. Raises ImageError."""
        return compressed_to_rgb(data, upright=True, values=self._values)

    def reads(self, encoding: str) -> bool:
        """True if `message` reads this encoding of sensor_msgs/Image."""
        return is_supported(encoding, self._values)
