# SPDX-License-Identifier: Apache-2.0
"""Encodes images as cameras do, from the definition of each encoding.

Knows nothing of the code that reads them.
"""

from __future__ import annotations

import numpy as np

PLANAR = ("nv12", "nv21", "i420", "iyuv", "yuv420", "yuv420p", "yv12", "nv24", "nv42")
UNTYPED = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}
PATTERNS = {"rggb": ("rg", "gb"), "bggr": ("bg", "gr"), "gbrg": ("gb", "rg"), "grbg": ("gr", "bg")}


def encoded(image_rgb: np.ndarray, encoding: str) -> np.ndarray:
    """[H, row bytes] of `image_rgb` in that encoding, from its definition."""
    height, width = image_rgb.shape[:2]
    if encoding.endswith("16"):
        # The low byte is not 0, so that reading it instead of the high one is noticed.
        eight = encoded(image_rgb, f"{encoding[:-2]}8")
        return (eight.astype("<u2") * 256 + 77).view(np.uint8)
    if encoding in PLANAR:
        return _planes(image_rgb, encoding)
    encoding = UNTYPED.get(encoding, encoding)
    opaque = np.full((height, width, 1), 255, np.uint8)
    if encoding.startswith("bayer"):
        mosaic = np.empty((height, width), np.uint8)
        for row, letters in enumerate(PATTERNS[encoding[6:10]]):
            for column, letter in enumerate(letters):
                mosaic[row::2, column::2] = image_rgb[row::2, column::2, "rgb".index(letter)]
        return mosaic
    if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv"):
        luma, u, v = _yuv(image_rgb)
        u, v = (u[:, ::2] + u[:, 1::2]) / 2, (v[:, ::2] + v[:, 1::2]) / 2
        order = (u, luma[:, ::2], v, luma[:, 1::2])
        if encoding in ("yuv422_yuy2", "yuyv"):
            order = (luma[:, ::2], u, luma[:, 1::2], v)
        return np.round(np.stack(order, axis=-1)).astype(np.uint8).reshape(height, -1)
    if encoding == "mono8":
        return image_rgb[:, :, 0]
    planes = {"rgb": image_rgb, "bgr": image_rgb[:, :, ::-1]}[encoding[:3]]
    return (
        np.concatenate([planes, opaque], axis=2).reshape(height, -1)
        if "a" in encoding
        else planes.reshape(height, -1)
    )


def _yuv(image_rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ITU-R BT.601, video range."""
    red, green, blue = np.moveaxis(image_rgb.astype(np.float64), 2, 0)
    luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    u = 128 - 0.148 * red - 0.291 * green + 0.439 * blue
    v = 128 + 0.439 * red - 0.368 * green - 0.071 * blue
    return luma, u, v


def _planes(image_rgb: np.ndarray, encoding: str) -> np.ndarray:
    """[rows, W]: first the brightness, then the colour, each plane laid out in rows of the same number of bytes."""
    width = image_rgb.shape[1]
    luma, u, v = _yuv(image_rgb)
    if not encoding.startswith(("nv24", "nv42")):
        # 2 x 2 pixels share a colour.
        u, v = ((c[::2, ::2] + c[1::2, ::2] + c[::2, 1::2] + c[1::2, 1::2]) / 4 for c in (u, v))
    if encoding in ("nv21", "yv12", "nv42"):
        u, v = v, u
    colour = np.stack([u, v], axis=-1) if encoding.startswith("nv") else np.stack([u, v])
    return (
        np.round(np.concatenate([luma.reshape(-1), colour.reshape(-1)])).astype(np.uint8).reshape(-1, width)
    )


def padded(rows: np.ndarray, padding: int, encoding: str = "") -> tuple[int, bytes]:
    """(step, data) with `padding` random bytes after each row; for planes as the encoding defines it."""
    parts = [rows]
    if encoding in PLANAR and padding:
        full = encoding in ("nv24", "nv42")
        height = rows.shape[0] // 3 if full else rows.shape[0] * 2 // 3
        bytes_a_row = rows.shape[1] * (2 if full else 1)
        if not encoding.startswith("nv"):
            bytes_a_row //= 2
        parts = [rows[:height], rows[height:].reshape(-1, bytes_a_row)]
    step = rows.shape[1] + padding
    filled = [
        np.pad(part, ((0, 0), (0, padding * part.shape[1] // rows.shape[1])), constant_values=0xA5)
        for part in parts
    ]
    return step, b"".join(part.tobytes() for part in filled)
