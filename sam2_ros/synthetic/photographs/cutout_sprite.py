# SPDX-License-Identifier: Apache-2.0
"""Cuts one instance out of its photograph: a square sprite with a slightly soft edge and no rim of its background.

Knows nothing of the photograph's source, nor of motion.
"""

from __future__ import annotations

import cv2
import numpy as np

from sam2_ros.synthetic.drawing.shapes import FILL

MAX_LENGTH_PX = 300
_MARGIN_PX = 4
_KEPT_BY_EROSION = 0.8  # thin things are not eroded


def make_cutout_sprite(image: np.ndarray, mask: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Cut out the largest connected piece of a mask, [S, S, 4] uint8 RGB + alpha, its longer side 0.94 of the square.

    Outlines drawn by hand include a pixel or two of the background: the edge is moved inwards, and colours outside it
    are those of the nearest pixel inside, so that a soft edge shows no halo.

    Args:
        image: [H, W, 3] uint8 RGB.
        mask: [H, W] uint8, 0 or 255.
        box: of the mask, x0, y0, x1, y1 px, half-open.
    """
    rows, columns = mask.shape
    x0, y0 = max(box[0] - _MARGIN_PX, 0), max(box[1] - _MARGIN_PX, 0)
    x1, y1 = min(box[2] + _MARGIN_PX, columns), min(box[3] + _MARGIN_PX, rows)
    inside, colour = _largest(mask[y0:y1, x0:x1]), image[y0:y1, x0:x1]
    scale = MAX_LENGTH_PX / max(box[2] - box[0], box[3] - box[1])
    if scale < 1:
        colour = cv2.resize(colour, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        inside = cv2.resize(inside, colour.shape[1::-1], interpolation=cv2.INTER_AREA)
        inside = np.where(inside >= 128, 255, 0).astype(np.uint8)
    core = _eroded(inside)
    x, y, width, height = cv2.boundingRect(core)
    side = int(np.ceil(max(width, height) / FILL)) + 2
    left, top = (side - width) // 2 - x, (side - height) // 2 - y
    square = np.zeros((side, side), np.uint8)
    square[top + y : top + y + height, left + x : left + x + width] = core[y : y + height, x : x + width]
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[top + y : top + y + height, left + x : left + x + width] = colour[y : y + height, x : x + width]
    alpha = cv2.GaussianBlur(square, (3, 3), 0.7)
    return cv2.merge([*cv2.split(_extended(pixels, square)), alpha])


def _largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected piece, [h, w] uint8, 0 or 255."""
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask)
    return np.where(numbers == 1 + stats[1:, cv2.CC_STAT_AREA].argmax(), 255, 0).astype(np.uint8)


def _eroded(mask: np.ndarray) -> np.ndarray:
    """Take the outermost pixel or two away, unless too little would be left."""
    area = np.count_nonzero(mask)
    for side in (5, 3):
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        core = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        if np.count_nonzero(core) >= _KEPT_BY_EROSION * area:
            return _largest(core)
    return mask


def _extended(pixels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Give every pixel outside the colour of the nearest one inside."""
    _, labels = cv2.distanceTransformWithLabels(255 - inside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.zeros(int(labels.max()) + 1, np.int64)
    at = np.flatnonzero(inside)
    nearest[labels.ravel()[at]] = at
    return pixels.reshape(-1, 3)[nearest[labels]]
