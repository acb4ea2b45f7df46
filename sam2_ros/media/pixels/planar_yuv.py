# SPDX-License-Identifier: Apache-2.0
"""Converts planar YUV images, the output of camera chips, to RGB: nv12, i420 and others.

Knows layouts and BT.601 video range (16..235), which cameras send; nothing of messages.
"""

from __future__ import annotations

import cv2
import numpy as np

from .image_error import ImageError

_HALF: dict[str, int] = {
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
    "i420": cv2.COLOR_YUV2RGB_I420,
    "iyuv": cv2.COLOR_YUV2RGB_I420,
    "yuv420": cv2.COLOR_YUV2RGB_I420,
    "yuv420p": cv2.COLOR_YUV2RGB_I420,
    "yv12": cv2.COLOR_YUV2RGB_YV12,
}
_INTERLEAVED = ("nv12", "nv21")
_FULL = ("nv24", "nv42")
PLANAR_ENCODINGS: tuple[str, ...] = (*_HALF, *_FULL)
# R, G, B from Y, U, V: ITU-R BT.601, video range.
_BT601 = np.array([[1.164, 0, 1.596], [1.164, -0.392, -0.813], [1.164, 2.017, 0]], np.float32)
_BT601_OFFSET = -_BT601 @ np.array([16, 128, 128], np.float32)


def planar_to_rgb(height: int, width: int, name: str, step: int, flat: np.ndarray) -> np.ndarray:
    """Convert the planes in `flat` to [height, width, 3] uint8 RGB.

    `height` and `width` are the image's. `step` is the number of bytes of a row of brightness; a row of interleaved
    colour has as many in nv12 and nv21, twice as many in nv24 and nv42; a row of a separate colour plane has half. If
    the size of the data is that of rows without padding, `step` is ignored, as some drivers give that of another
    encoding. Raises ImageError if the sizes do not fit.
    """
    if height <= 0 or width <= 0:
        raise ImageError(f"{name} image is {width}x{height} px, expected at least 1x1")
    halved = name in _HALF
    if halved and (height % 2 or width % 2):
        raise ImageError(f"{name} image is {width}x{height} px, expected an even width and an even height")
    pixel_bytes = 1.5 if halved else 3
    if flat.size == int(height * width * pixel_bytes):
        step = width
    if step < width:
        raise ImageError(
            f"{name} image {width}x{height} has step {step}, expected at least {width} bytes a row"
        )
    needed = int(height * step * pixel_bytes)
    if flat.size < needed:
        hint = "; height is the image's, without the rows of colour" if flat.size == height * step else ""
        raise ImageError(
            f"{name} image {width}x{height} with step {step} has {flat.size} bytes of data, expected {needed}: "
            f"truncated on the way, or its sizes are wrong{hint}"
        )
    flat = flat[:needed]
    if not halved:
        return _full_colour(height, width, name, step, flat)
    if step > width:
        flat = _tight(height, width, name, step, flat)
    return cv2.cvtColor(np.ascontiguousarray(flat).reshape(height * 3 // 2, width), _HALF[name])


def _tight(height: int, width: int, name: str, step: int, flat: np.ndarray) -> np.ndarray:
    """Return the planes without the padding of their rows, flat."""
    luma, colour = flat[: height * step].reshape(height, step), flat[height * step :]
    if name in _INTERLEAVED:
        rows = colour.reshape(height // 2, step)[:, :width]
    elif step % 2:
        raise ImageError(
            f"{name} image {width}x{height} has step {step}, expected an even number of bytes a row"
        )
    else:
        rows = colour.reshape(height, step // 2)[:, : width // 2]
    return np.concatenate([luma[:, :width].reshape(-1), rows.reshape(-1)])


def _full_colour(height: int, width: int, name: str, step: int, flat: np.ndarray) -> np.ndarray:
    luma = flat[: height * step].reshape(height, step)[:, :width]
    colour = flat[height * step :].reshape(height, 2 * step)[:, : 2 * width].reshape(height, width, 2)
    u, v = (0, 1) if name == "nv24" else (1, 0)
    yuv = np.dstack([luma, colour[..., u], colour[..., v]])
    return cv2.transform(yuv, np.column_stack([_BT601, _BT601_OFFSET]))
