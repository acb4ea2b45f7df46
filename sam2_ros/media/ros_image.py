# SPDX-License-Identifier: Apache-2.0
"""Converts raw and compressed ROS image buffers to arrays and back.

Knows no message class and imports no ROS: it takes the fields of sensor_msgs Image and CompressedImage. Returns views
where the bytes allow it; respects `step` and `is_bigendian`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from .pixels.encoded_picture import decode_picture
from .pixels.image_error import ImageError
from .pixels.planar_yuv import PLANAR_ENCODINGS, planar_to_rgb
from .pixels.value_range import ValueRange

Buffer = bytes | bytearray | memoryview | np.ndarray | Sequence[int]

# Encoding -> (values per pixel, OpenCV conversion to RGB, None if the values are RGB).
_COLOURS: dict[str, tuple[int, int | None]] = {
    "rgb": (3, None),
    "bgr": (3, cv2.COLOR_BGR2RGB),
    "rgba": (4, cv2.COLOR_RGBA2RGB),
    "bgra": (4, cv2.COLOR_BGRA2RGB),
    "mono": (1, cv2.COLOR_GRAY2RGB),
    # OpenCV names a Bayer pattern by its second row and column, ROS by its first: rggb is OpenCV's BG.
    "bayer_rggb": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg": (1, cv2.COLOR_BayerGB2RGB),
}
_PAIRED: dict[str, int] = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
UNTYPED_COLOURS = ("bgr", "rgb")
"""Channel orders of 8UC3 and 8UC4, whose names state only the number of channels; bgr is OpenCV's order."""
_UNTYPED: dict[str, str] = {"8uc1": "", "8uc3": "", "8uc4": "a"}
_DEPTH_LIKE = {"16uc1": "u2", "32fc1": "f4"}  # usually depth; read as grey if the user gives a value range
LABEL_ENCODINGS: dict[str, str] = {"mono8": "u1", "8uc1": "u1", "mono16": "u2", "16uc1": "u2", "32sc1": "i4"}
"""Encodings of label images, in lower case, and the NumPy type of their values."""
ENCODINGS: tuple[str, ...] = (
    *(f"{name}8" for name in _COLOURS),
    *(f"{name}16" for name in _COLOURS),
    *_PAIRED,
    *PLANAR_ENCODINGS,
    *(name.upper() for name in _UNTYPED),
)
"""Encodings that are read without an option from the user; upper and lower case are equal."""
_EXPECTED = (
    "rgb, bgr, rgba, bgra, mono or bayer_* of 8 or 16 bits, "
    f"{', '.join((*_PAIRED, *PLANAR_ENCODINGS))}, {', '.join(_UNTYPED).upper()}"
)
_FULL_RANGE = ValueRange(warn=lambda text: None)  # the default of callers without an option
_KNOWN = frozenset(name.lower() for name in ENCODINGS)
_PNG = b"\x89PNG"
_DEPTH_HEADER_BYTES = 12  # compressed_depth_image_transport writes this header before its PNG


class ImageFields(NamedTuple):
    """The fields of sensor_msgs/Image; `data` is flat contiguous uint8 (a buffer for `array.frombytes`)."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: np.ndarray


def image_to_rgb(
    height: int,
    width: int,
    encoding: str,
    is_bigendian: int | bool,
    step: int,
    data: Buffer,
    values: ValueRange | None = None,
    untyped: str = "bgr",
) -> np.ndarray:
    """Convert an image to [height, width, 3] uint8 RGB, contiguous; for rgb8 without row padding a view of `data`.

    4:2:2, 4:2:0 and Bayer patterns are converted by OpenCV.

    Args:
        values: how 16 bits become 8; None = the full range, value // 256. 16UC1 and 32FC1, usually depth, are read as
            grey only if a range was chosen.
        untyped: channel order of 8UC3 and 8UC4, bgr or rgb.

    Raises:
        ImageError: unknown encoding, or sizes that do not fit the data.
    """
    name = encoding.strip().lower()
    values = values or _FULL_RANGE
    if name in _DEPTH_LIKE and values.chosen:
        numbers = _numbers(height, width, _DEPTH_LIKE[name], is_bigendian, step, data, encoding)
        return cv2.cvtColor(values.to_8_bits(numbers), cv2.COLOR_GRAY2RGB)
    if name not in _KNOWN:
        raise ImageError(f"{unsupported_reason(encoding)}; convert it upstream (for example with image_proc)")
    if name in PLANAR_ENCODINGS:
        return planar_to_rgb(height, width, name, step, as_uint8(data))
    if name in _PAIRED:
        if width % 2:
            raise ImageError(f"{name} image has an odd width of {width} px, expected pairs of pixels")
        return cv2.cvtColor(_rows(height, width, 2, step, data, encoding), _PAIRED[name])
    if name in _UNTYPED:
        name = "mono8" if name == "8uc1" else f"{untyped}{_UNTYPED[name]}8"
    colour, bits = (name[:-2], 16) if name.endswith("16") else (name[:-1], 8)
    channels, conversion = _COLOURS[colour]
    if bits == 16:
        numbers = _numbers(height, width, "u2", is_bigendian, step, data, encoding, channels)
        pixels = values.to_8_bits(numbers)
    else:
        pixels = _rows(height, width, channels, step, data, encoding)
    if conversion is None:
        return np.ascontiguousarray(pixels)
    if colour.startswith("bayer") and (height < 2 or width < 2):
        raise ImageError(f"{name} image of {width}x{height} px is smaller than its 2x2 pattern")
    return cv2.cvtColor(pixels, conversion)


def is_supported(encoding: str, values: ValueRange) -> bool:
    """True if `image_to_rgb` reads this encoding."""
    name = encoding.strip().lower()
    return name in _KNOWN or (name in _DEPTH_LIKE and values.chosen)


def has_untyped_channels(encoding: str) -> bool:
    """True for 8UC3 and 8UC4, whose channel order is not defined."""
    return encoding.strip().lower() in ("8uc3", "8uc4")


def unsupported_reason(encoding: str) -> str:
    """Say why an image of this encoding is not read."""
    if encoding.strip().lower() in _DEPTH_LIKE:
        return (
            f"image encoding '{encoding}' is usually depth, which the tracker cannot use; if it is grey, as from a "
            "thermal camera, give its range (--range percentiles or LOW,HIGH; of the node: parameter mono16_range)"
        )
    return f"image encoding '{encoding}' is not supported, expected {_EXPECTED}"


def image_to_labels(
    height: int, width: int, encoding: str, is_bigendian: int | bool, step: int, data: Buffer
) -> np.ndarray:
    """Read a label image as [height, width] numbers, unchanged. Raises ImageError for any other encoding."""
    name = encoding.strip().lower()
    if name not in LABEL_ENCODINGS:
        raise ImageError(
            f"label image has encoding '{encoding}', expected one of {', '.join(LABEL_ENCODINGS)}"
        )
    numbers = _numbers(height, width, LABEL_ENCODINGS[name], is_bigendian, step, data, name)
    return np.ascontiguousarray(numbers)[:, :, 0]


def compressed_to_rgb(
    data: Buffer, format: str = "", upright: bool = False, values: ValueRange | None = None
) -> np.ndarray:
    """Decode a JPEG or PNG (sensor_msgs/CompressedImage.data, or a file's bytes) to [H, W, 3] uint8 RGB.

    Args:
        data: the encoded image; its format is detected from the bytes.
        format: the message's `format` field, for the error text and to detect compressedDepth.
        upright: rotate by the EXIF orientation, as viewers do. Not for a camera's images: CameraInfo describes the
            pixels as stored.
        values: as in `image_to_rgb`.

    Raises:
        ImageError: the bytes do not decode, or are truncated.
    """
    encoded = as_uint8(data)
    format_note = f" (format '{format}')" if format else ""
    if is_compressed_depth(format, encoded):
        raise ImageError(
            f"compressed image{format_note} is a depth image, expected a colour image in JPEG or PNG"
        )
    what = f"compressed image of {encoded.size} bytes{format_note}"
    return decode_picture(encoded, what, upright, values or _FULL_RANGE)


def is_compressed_depth(format: str, data: Buffer) -> bool:
    """True for images of compressed_depth_image_transport: by the format, or a PNG after a header of 12 bytes."""
    start = bytes(as_uint8(data)[: _DEPTH_HEADER_BYTES + len(_PNG)])
    return "compresseddepth" in format.lower() or (
        start[_DEPTH_HEADER_BYTES:] == _PNG and not start.startswith(_PNG)
    )


def rgb_to_image_fields(image_rgb: np.ndarray) -> ImageFields:
    """Convert [H, W, 3] uint8 RGB to the fields of an rgb8 message; `data` is a view if the image is contiguous."""
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
        raise ImageError(f"RGB image is {image_rgb.dtype} {image_rgb.shape}, expected uint8 [H, W, 3]")
    height, width = image_rgb.shape[:2]
    return ImageFields(height, width, "rgb8", 0, 3 * width, np.ascontiguousarray(image_rgb).reshape(-1))


def mono_to_image_fields(image_hw: np.ndarray) -> ImageFields:
    """Convert [H, W] to mono8 (uint8, or bool as 0/255) or mono16 (uint16, little-endian on any machine)."""
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
    """Return message bytes as a flat uint8 array: a view of anything with a buffer, a copy of a plain list."""
    if isinstance(data, (list, tuple)):
        return np.asarray(data, dtype=np.uint8)
    return np.frombuffer(data, dtype=np.uint8)  # type: ignore[arg-type]


def _numbers(
    height: int,
    width: int,
    kind: str,
    is_bigendian: int | bool,
    step: int,
    data: Buffer,
    name: str,
    channels: int = 1,
) -> np.ndarray:
    """[height, width, channels] view of `data` as numbers of NumPy's `kind`, in the message's byte order."""
    number = np.dtype(kind).newbyteorder(">" if is_bigendian else "<")
    _rows(height, width, channels * number.itemsize, step, data, name)  # raises if the sizes do not fit
    strides = (step, channels * number.itemsize, number.itemsize)
    return np.ndarray((height, width, channels), number, as_uint8(data), 0, strides)


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
    # Some drivers omit the padding of the last row.
    needed = step * (height - 1) + row_bytes
    if flat.size < needed:
        raise ImageError(
            f"{name} image {width}x{height} with step {step} has {flat.size} bytes of data, expected "
            f"{needed}: truncated on the way, or its sizes are wrong"
        )
    return np.lib.stride_tricks.as_strided(
        flat, (height, width, pixel_bytes), (step, pixel_bytes, 1), writeable=flat.flags.writeable
    )
