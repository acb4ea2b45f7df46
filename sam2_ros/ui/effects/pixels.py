# SPDX-License-Identifier: Apache-2.0
"""Operations on the pixels of images and masks: cells, blur, soft edges, blending, filling a hole.

Pure functions of arrays. Does not know settings, objects or which effect uses them.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 pixels, max exclusive
_FILL_SIDE_PX = 160  # a hole is filled at this size, then enlarged: inpainting takes time by its area


def box_of(mask_hw: np.ndarray, margin_px: int = 0) -> Box | None:
    """Return the tight box of a ``[H, W]`` bool mask, grown by the margin and clipped; None for an empty mask."""
    x, y, width, height = cv2.boundingRect(mask_hw.view(np.uint8))
    if width == 0:
        return None
    rows, columns = mask_hw.shape
    x0, y0 = max(x - margin_px, 0), max(y - margin_px, 0)
    return x0, y0, min(x + width + margin_px, columns), min(y + height + margin_px, rows)


def parts_of(mask_hw: np.ndarray, margin_px: Callable[[int], int]) -> list[Box]:
    """Return the box of every connected part of the mask, grown by a margin for its longer side, and clipped."""
    rows, columns = mask_hw.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask_hw.view(np.uint8))
    boxes = []
    for x, y, width, height, _ in stats[1:].tolist():  # the first is the background
        margin = margin_px(max(width, height))
        boxes.append(
            (
                max(x - margin, 0),
                max(y - margin, 0),
                min(x + width + margin, columns),
                min(y + height + margin, rows),
            )
        )
    return boxes


def grown(mask_hw: np.ndarray, radius_px: int) -> np.ndarray:
    """Return the ``[H, W]`` bool mask with every pixel at most `radius_px` away from it."""
    if radius_px < 1:
        return mask_hw
    away = cv2.distanceTransform(np.ascontiguousarray(~mask_hw).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return away <= radius_px


def soft(mask_hw: np.ndarray, radius_px: int) -> np.ndarray:
    """Return the mask with soft edges, ``[H, W]`` float32 0..1: half at its border, over `radius_px` each way."""
    size = 2 * radius_px + 1
    return (
        cv2.GaussianBlur(mask_hw.astype(np.float32), (size, size), 0)
        if radius_px
        else mask_hw.astype(np.float32)
    )


def blend(under: np.ndarray, over: np.ndarray, alpha_hw: np.ndarray) -> np.ndarray:
    """Return `over` on `under`, both ``[H, W, 3]`` uint8, by ``[H, W]`` float32 0..1."""
    return cv2.blendLinear(over, under, alpha_hw, 1 - alpha_hw)


def plain(like: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Return an image of one colour with the shape of `like`, ``[H, W, 3]`` uint8."""
    image = np.empty_like(like)
    image[:] = colour
    return image


def vertical_gradient(
    like: np.ndarray, top: tuple[int, int, int], bottom: tuple[int, int, int]
) -> np.ndarray:
    """Return an image that changes from one colour to another, ``[H, W, 3]`` uint8 of the shape of `like`."""
    share = np.linspace(0, 1, like.shape[0], dtype=np.float32)[:, None]
    rows = np.array(top, np.float32) * (1 - share) + np.array(bottom, np.float32) * share
    return np.repeat(np.rint(rows).astype(np.uint8)[:, None], like.shape[1], axis=1)


def desaturated(image: np.ndarray, share: float) -> np.ndarray:
    """Return the image with this share, 0..1, of its colour taken away."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(grey, share, image, 1 - share, 0)


def pixelated(image: np.ndarray, cell_px: int) -> np.ndarray:
    """Return the image as square cells of `cell_px`, each the mean of its pixels; the grid begins at the corner."""
    height, width = image.shape[:2]
    rows, columns = -(-height // cell_px), -(-width // cell_px)
    below, right = rows * cell_px - height, columns * cell_px - width
    padded = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE) if below or right else image
    cells = cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA)
    return cv2.resize(cells, padded.shape[1::-1], interpolation=cv2.INTER_NEAREST)[:height, :width]


def blurred_around(image: np.ndarray, hole_hw: np.ndarray, sigma_px: float) -> np.ndarray:
    """Return the image blurred, where the pixels in the hole give nothing to those around it.

    Normalised convolution at a reduced size: an object in front of a blurred background leaves no halo of its colour.
    """
    height, width = image.shape[:2]
    factor = max(1, int(sigma_px / 2))
    small = (max(width // factor, 1), max(height // factor, 1))
    outside = np.ascontiguousarray(~hole_hw).view(np.uint8)
    weight = cv2.resize(outside.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    weighted = cv2.resize(cv2.bitwise_and(image, image, mask=outside), small, interpolation=cv2.INTER_AREA)
    sigma = sigma_px / factor
    total = cv2.GaussianBlur(weight, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) + 1e-3
    summed = cv2.GaussianBlur(weighted.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    blurred = np.clip(summed / total[..., None], 0, 255).astype(np.uint8)
    return cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)


def cell_means(image: np.ndarray, longer_cells: int) -> np.ndarray:
    """Return the image as few cells, ``[h, w, 3]`` uint8: `longer_cells` along its longer side, each a mean."""
    height, width = image.shape[:2]
    per_cell = max(height, width) / longer_cells
    size = (max(1, round(width / per_cell)), max(1, round(height / per_cell)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def filled(image: np.ndarray, hole_hw: np.ndarray) -> np.ndarray:
    """Return the image with the hole filled from around it (OpenCV's inpainting by Navier-Stokes, Bertalmio 2001).

    A large hole is filled at a reduced size and enlarged. An image that is all hole becomes grey.
    """
    height, width = image.shape[:2]
    if hole_hw.all():
        return np.full_like(image, 128)
    factor = max(1.0, max(height, width) / _FILL_SIDE_PX)
    if factor == 1:
        return cv2.inpaint(image, hole_hw.astype(np.uint8), 3, cv2.INPAINT_NS)
    size = (max(round(width / factor), 1), max(round(height / factor), 1))
    # A reduced pixel that has any of the hole belongs to it: nothing of the hole bleeds into what is filled in.
    hole_small = (cv2.resize(hole_hw.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(
        np.uint8
    )
    if hole_small.all():
        return np.full_like(image, 128)
    small = cv2.inpaint(cv2.resize(image, size, interpolation=cv2.INTER_AREA), hole_small, 3, cv2.INPAINT_NS)
    enlarged = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    result = image.copy()
    result[hole_hw] = enlarged[hole_hw]
    return result
