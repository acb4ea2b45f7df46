"""Images as cameras send them, from the definition of each encoding.

Knows nothing of the code that reads them.
"""

from __future__ import annotations

import numpy as np

PATTERNS = {"rggb": ("rg", "gb"), "bggr": ("bg", "gr"), "gbrg": ("gb", "rg"), "grbg": ("gr", "bg")}


def encoded(image_rgb: np.ndarray, encoding: str) -> np.ndarray:
    """[H, row bytes] of `image_rgb` as a camera of that encoding sends it, from the definition."""
    height, width = image_rgb.shape[:2]
    opaque = np.full((height, width, 1), 255, np.uint8)
    if encoding.startswith("bayer"):
        mosaic = np.empty((height, width), np.uint8)
        for row, letters in enumerate(PATTERNS[encoding[6:10]]):
            for column, letter in enumerate(letters):
                mosaic[row::2, column::2] = image_rgb[row::2, column::2, "rgb".index(letter)]
        return mosaic
    if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv"):
        red, green, blue = np.moveaxis(image_rgb.astype(np.float64), 2, 0)
        luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
        u = 128 - 0.148 * red - 0.291 * green + 0.439 * blue
        v = 128 + 0.439 * red - 0.368 * green - 0.071 * blue
        u, v = (u[:, ::2] + u[:, 1::2]) / 2, (v[:, ::2] + v[:, 1::2]) / 2
        order = (u, luma[:, ::2], v, luma[:, 1::2])
        if encoding in ("yuv422_yuy2", "yuyv"):
            order = (luma[:, ::2], u, luma[:, 1::2], v)
        return np.round(np.stack(order, axis=-1)).astype(np.uint8).reshape(height, -1)
    if encoding in ("mono8", "mono16"):
        grey = image_rgb[:, :, 0]
        return grey if encoding == "mono8" else (grey.astype("<u2") * 256 + 77).view(np.uint8)
    planes = {"rgb": image_rgb, "bgr": image_rgb[:, :, ::-1]}[encoding[:3]]
    return (
        np.concatenate([planes, opaque], axis=2).reshape(height, -1)
        if "a" in encoding
        else planes.reshape(height, -1)
    )


def padded(rows: np.ndarray, padding: int) -> tuple[int, bytes]:
    """(step, data) with `padding` bytes of rubbish after each row."""
    filler = np.full((rows.shape[0], padding), 0xA5, np.uint8)
    return rows.shape[1] + padding, np.concatenate([rows, filler], axis=1).tobytes()
