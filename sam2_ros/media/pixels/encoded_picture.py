# SPDX-License-Identifier: Apache-2.0
"""Decodes JPEG, PNG, TIFF, WebP and BMP bytes to RGB: complete images only, of any bit depth.

Knows neither files nor messages; the caller decides whether EXIF orientation is applied.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from sam2_ros.media.opencv_log import quiet_opencv

from .image_error import ImageError
from .picture_end import JPEG_END, PictureEnd, picture_end
from .value_range import ValueRange

_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
# Padding for a decoder that reads beyond the last pixel; it decodes to a few blocks at most.
_LOOK_AHEAD = bytes(16)
_FILLER = 128


def decode_picture(encoded: np.ndarray, what: str, upright: bool, values: ValueRange) -> np.ndarray:
    """Decode an image, flat uint8 bytes, to [H, W, 3] uint8 RGB.

    A JPEG without an end marker is accepted if all its rows are there. Bytes after an end marker are ignored.

    Args:
        encoded: the bytes of the file or message.
        what: description of the image for error messages.
        upright: rotate by the EXIF orientation, as viewers do. OpenCV always does so for TIFF.
        values: how more than 8 bits become 8.

    Raises:
        ImageError: it does not decode, or is truncated (decoders fill missing rows with grey).
    """
    if bytes(encoded[:4]) in _TIFF:
        return _rgb(_decoded_tiff(encoded, what), values)
    end = picture_end(encoded)
    if end.cut:
        raise ImageError(f"{what} ends early ({end.cut}), expected a whole JPEG or PNG")
    picture, tail = encoded[: end.size], encoded[end.size :]
    if not end.marked:
        picture = np.concatenate([_without_padding(picture), np.frombuffer(JPEG_END, np.uint8)])
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    image_bgr = _decoded(picture, flags if upright else flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image_bgr is None:
        raise ImageError(f"{what} does not decode, expected JPEG or PNG")
    if end.one_pass and _is_doubtful(end, tail, image_bgr) and not _reaches_its_last_row(picture):
        raise ImageError(f"{what} ends early (its last rows are missing), expected a whole JPEG or PNG")
    return _rgb(image_bgr, values)


def encoded_size(encoded: bytes | memoryview) -> tuple[int, int]:
    """(height, width) in pixels of an encoded image, from its header alone; EXIF orientation is not applied.

    Raises ImageError if it has none.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.height, image.width
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:  # Pillow raises all of them
        raise ImageError("the image has no readable header, expected JPEG or PNG") from error


def _without_padding(jpeg: np.ndarray) -> np.ndarray:
    """Remove zeros after the data of a JPEG, whose last byte is filled up with ones."""
    used = int(jpeg.size - np.argmax(jpeg[::-1] != 0))
    return jpeg[: used + 1] if jpeg[used - 1] == 0xFF else jpeg[:used]  # 0xFF 0x00 is a byte of data


def _is_doubtful(end: PictureEnd, tail: np.ndarray, image: np.ndarray) -> bool:
    """True if the data of a JPEG may not reach its last row.

    Three cases: there is no end marker; other bytes follow the end marker, which may belong to an older image (a
    truncated image in a reused buffer); the last pixels have the grey that decoders fill in (a driver that adds an end
    marker to a truncated image).
    """
    return not end.marked or bool(tail.any()) or bool((image[-1, -4:] == _FILLER).all())


def _decoded(encoded: np.ndarray, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(encoded, flags) if encoded.size else None
    except cv2.error:
        return None


def _decoded_tiff(encoded: np.ndarray, what: str) -> np.ndarray:
    """Decode to BGR or grey of any number type: OpenCV needs IMREAD_UNCHANGED for floats, Pillow reads int32."""
    with quiet_opencv():
        for flags in (cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, cv2.IMREAD_UNCHANGED):
            if (image := _decoded(encoded, flags)) is not None:
                return image
    try:
        with Image.open(io.BytesIO(encoded.tobytes())) as opened:
            image = np.asarray(opened)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{what} does not decode, expected a TIFF of 8, 16 or 32 bits: {error}") from error
    if image.ndim != 2 or image.dtype.kind not in "iuf":
        raise ImageError(f"{what} does not decode, expected a TIFF of 8, 16 or 32 bits")
    return image


def _rgb(image: np.ndarray, values: ValueRange) -> np.ndarray:
    grey_or_bgr = values.to_8_bits(image)
    channels = 1 if grey_or_bgr.ndim == 2 else grey_or_bgr.shape[2]
    return cv2.cvtColor(
        grey_or_bgr, {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    )


def _reaches_its_last_row(jpeg: np.ndarray) -> bool:
    """True if a JPEG's data reach the last row.

    Decodes it with and without an end marker: decoders fill missing rows with grey only at an end marker; without one
    these rows stay black.
    """
    data = jpeg[: -len(JPEG_END)].tobytes()
    last_rows = []
    for ending in (_LOOK_AHEAD, _LOOK_AHEAD + JPEG_END):
        try:
            with Image.open(io.BytesIO(data + ending)) as image:
                try:
                    image.load()
                except OSError:  # "image file is truncated", always without the end marker
                    image.tile = []
                last_rows.append(np.asarray(image)[-1])
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return False
    return bool(np.array_equal(*last_rows))
