"""Raw and compressed ROS image buffers <-> arrays.

Knows no message class and imports no ROS: it takes the fields of sensor_msgs Image and CompressedImage.
Views are used wherever the bytes allow it, and `step` and `is_bigendian` are honoured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

Buffer = bytes | bytearray | memoryview | np.ndarray | Sequence[int]

# encoding -> (bytes per pixel, OpenCV conversion to RGB or None when the bytes are RGB already)
_EIGHT_BIT: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    # OpenCV names a Bayer pattern by its second row and column, ROS by its first: rggb is OpenCV's BG.
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}
LABEL_ENCODINGS: dict[str, str] = {"mono8": "u1", "8uc1": "u1", "mono16": "u2", "16uc1": "u2", "32sc1": "i4"}
"""Encodings, in lower case, whose pixels can be numbers of objects, and the numbers' type."""
ENCODINGS: tuple[str, ...] = (*_EIGHT_BIT, "mono16")
_PAIRED = ("yuv422", "uyvy", "yuv422_yuy2", "yuyv")


class ImageError(ValueError):
    """An image buffer that cannot be shown as RGB: unknown encoding, or bytes that do not fit its sizes."""


class ImageFields(NamedTuple):
    """The fields of sensor_msgs/Image; `data` is flat contiguous uint8 (a buffer for `array.frombytes`)."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: np.ndarray


def image_to_rgb(
    height: int, width: int, encoding: str, is_bigendian: int | bool, step: int, data: Buffer
) -> np.ndarray:
    """The image as [height, width, 3] uint8 RGB, contiguous; for rgb8 without row padding a view of `data`.

    mono16 keeps its high byte (value // 256), the full range of the encoding: a 12-bit camera that does not
    shift its values up comes out dark. 4:2:2 and Bayer patterns go through OpenCV.
    Raises ImageError for an unknown encoding and for sizes that do not fit the data.
    """
    name = encoding.strip().lower()
    if name not in ENCODINGS:
        raise ImageError(
            f"image encoding '{encoding}' is not supported, expected one of {', '.join(ENCODINGS)}; "
            "convert it upstream (for example with image_proc)"
        )
    if name == "mono16":
        pixels = _rows(height, width, 2, step, data, name)
        high_byte = 0 if is_bigendian else 1
        return cv2.cvtColor(np.ascontiguousarray(pixels[:, :, high_byte]), cv2.COLOR_GRAY2RGB)
    channels, conversion = _EIGHT_BIT[name]
    if name in _PAIRED and width % 2:
        raise ImageError(f"{name} image has an odd width of {width} px, expected pairs of pixels")
    pixels = _rows(height, width, channels, step, data, name)
    if conversion is None:
        return np.ascontiguousarray(pixels)
    if name.startswith("bayer") and (height < 2 or width < 2):
        raise ImageError(f"{name} image of {width}x{height} px is smaller than its 2x2 pattern")
    return cv2.cvtColor(pixels, conversion)


def image_to_labels(
    height: int, width: int, encoding: str, is_bigendian: int | bool, step: int, data: Buffer
) -> np.ndarray:
    """The image as [height, width] numbers, one per pixel, as they are. ImageError for any other encoding."""
    name = encoding.strip().lower()
    if name not in LABEL_ENCODINGS:
        raise ImageError(
            f"label image has encoding '{encoding}', expected one of {', '.join(LABEL_ENCODINGS)}"
        )
    kind = np.dtype(LABEL_ENCODINGS[name]).newbyteorder(">" if is_bigendian else "<")
    pixels = np.ascontiguousarray(_rows(height, width, kind.itemsize, step, data, name))
    return pixels.view(kind)[:, :, 0]


def compressed_to_rgb(data: Buffer, format: str = "") -> np.ndarray:
    """A JPEG or PNG (sensor_msgs/CompressedImage.data) as [H, W, 3] uint8 RGB.

    `format` only serves the error text: the bytes say what they are. Raises ImageError for anything that
    does not decode, and for a JPEG or PNG that ends early, which OpenCV would fill up with grey.
    """
    if "compressedDepth" in format:
        raise ImageError(f"format '{format}' is a depth image, expected a colour image in JPEG or PNG")
    encoded = as_uint8(data)
    said = f" (format '{format}')" if format else ""
    if _ends_early(encoded):
        raise ImageError(
            f"compressed image of {encoded.size} bytes{said} ends early, expected a whole JPEG or PNG"
        )
    # A camera's pixels are what its CameraInfo describes: an EXIF rotation must not be applied.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image_bgr = cv2.imdecode(encoded, flags) if encoded.size else None
    except cv2.error:
        image_bgr = None
    if image_bgr is None:
        raise ImageError(
            f"compressed image of {encoded.size} bytes{said} does not decode, expected JPEG or PNG"
        )
    return cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)


def rgb_to_image_fields(image_rgb: np.ndarray) -> ImageFields:
    """[H, W, 3] uint8 RGB as an rgb8 message; `data` is a view where the image is contiguous."""
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
        raise ImageError(f"RGB image is {image_rgb.dtype} {image_rgb.shape}, expected uint8 [H, W, 3]")
    height, width = image_rgb.shape[:2]
    return ImageFields(height, width, "rgb8", 0, 3 * width, np.ascontiguousarray(image_rgb).reshape(-1))


def mono_to_image_fields(image_hw: np.ndarray) -> ImageFields:
    """[H, W] as mono8 (uint8, or bool as 0/255) or mono16 (uint16, little-endian on any machine)."""
    if image_hw.ndim != 2 or image_hw.dtype not in (np.bool_, np.uint8, np.uint16):
        raise ImageError(
            f"mono image is {image_hw.dtype} {image_hw.shape}, expected bool, uint8 or uint16 [H, W]"
        )
    height, width = image_hw.shape
    if image_hw.dtype == np.uint16:
        data = np.ascontiguousarray(image_hw, dtype="<u2").reshape(-1).view(np.uint8)
        return ImageFields(height, width, "mono16", 0, 2 * width, data)
    if image_hw.dtype == np.bool_:
        image_hw = np.multiply(image_hw, 255, dtype=np.uint8)
    return ImageFields(height, width, "mono8", 0, width, np.ascontiguousarray(image_hw).reshape(-1))


def as_uint8(data: Buffer) -> np.ndarray:
    """Message bytes as a flat uint8 array: a view of anything with a buffer, a copy of a plain list."""
    if isinstance(data, (list, tuple)):
        return np.asarray(data, dtype=np.uint8)
    return np.frombuffer(data, dtype=np.uint8)  # type: ignore[arg-type]


def _rows(height: int, width: int, pixel_bytes: int, step: int, data: Buffer, name: str) -> np.ndarray:
    """[height, width, pixel_bytes] view of `data` without the padding of each row."""
    row_bytes = width * pixel_bytes
    if height <= 0 or width <= 0:
        raise ImageError(f"{name} image is {width}x{height} px, expected at least 1x1")
    if step < row_bytes:
        raise ImageError(
            f"{name} image {width}x{height} has step {step}, expected at least {row_bytes} bytes a row"
        )
    flat = as_uint8(data)
    # Some drivers leave out the padding of the last row.
    needed = step * (height - 1) + row_bytes
    if flat.size < needed:
        raise ImageError(
            f"{name} image {width}x{height} with step {step} has {flat.size} bytes of data, expected "
            f"{needed}: truncated on the way, or its sizes are wrong"
        )
    return np.lib.stride_tricks.as_strided(
        flat, (height, width, pixel_bytes), (step, pixel_bytes, 1), writeable=flat.flags.writeable
    )


def _ends_early(encoded: np.ndarray) -> bool:
    """True for a JPEG without an end marker after its last scan, and for a PNG without its end chunk."""
    raw = encoded.tobytes()
    if raw.startswith(b"\xff\xd8"):
        return raw.rfind(b"\xff\xd9") < raw.rfind(b"\xff\xda")
    if raw.startswith(b"\x89PNG"):
        return b"IEND" not in raw[-64:]
    return False
