# SPDX-License-Identifier: Apache-2.0
"""Decodes JPEG, PNG, TIFF, WebP and BMP bytes to RGB: complete images only, of any bit depth.

Knows neither files nor messages: whoever calls says whether the picture is to be turned upright.
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
# What a decoder may look at beyond the last pixel; decodes to a few blocks at most.
_LOOK_AHEAD = bytes(16)
_FILLER = 128


def decode_picture(encoded: np.ndarray, what: str, upright: bool, values: ValueRange) -> np.ndarray:
    """A picture, flat uint8, as [H, W, 3] uint8 RGB.

    Args:
        what: the picture in an error's words.
        upright: turn it as its EXIF orientation says, as viewers do. TIFF is always turned, by OpenCV.
        values: how more than 8 bits become 8.

    Raises ImageError for what does not decode and for what is cut off, which decoders fill up with grey. A JPEG
    without its end marker is taken when all its rows are there; what follows an end marker is not looked at.
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


def _without_padding(jpeg: np.ndarray) -> np.ndarray:
    """Without zeros behind the data of a JPEG, which end in a byte filled up with ones."""
    used = int(jpeg.size - np.argmax(jpeg[::-1] != 0))
    return jpeg[: used + 1] if jpeg[used - 1] == 0xFF else jpeg[:used]  # 0xFF 0x00 is a byte of data


def _is_doubtful(end: PictureEnd, tail: np.ndarray, image: np.ndarray) -> bool:
    """True where the data of a JPEG may not reach its last row.

    Where there is no end marker; where other bytes follow it, for then it may be theirs (a cut-off picture in a buffer
    that was used before); where the last pixels are the grey that a decoder fills up with (a driver that ends a cut-off
    picture properly).
    """
    return not end.marked or bool(tail.any()) or bool((image[-1, -4:] == _FILLER).all())


def _decoded(encoded: np.ndarray, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(encoded, flags) if encoded.size else None
    except cv2.error:
        return None


def _decoded_tiff(encoded: np.ndarray, what: str) -> np.ndarray:
    """BGR or grey of any type of number: OpenCV reads floats only as they are, Pillow 32-bit integers."""
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
    """True where a JPEG's data reach the last row: decoders fill up what is missing only at an end marker.

    So it is given to one without: rows that are not decoded stay black, though filled up they are grey.
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
