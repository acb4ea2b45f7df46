# SPDX-License-Identifier: Apache-2.0
"""Finds the object's pixels in a mask of booleans, floats or integers, with hard or soft edges; packs masks as bits.

Knows arrays of values. Does not know files, prompts or frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sam2_ros.errors import UserError

LEAST_SOFT = 32  # least value of an object with soft edges: smaller values are taken for numbers of objects
_SEVERAL_SHOWN = 6


@dataclass(frozen=True)
class PackedMask:
    """A mask in little memory: one bit for each pixel inside its box."""

    bits: np.ndarray  # uint8, `np.packbits` of the pixels inside the box
    box: tuple[int, int, int, int]  # x0, y0, x1, y1 pixels, max exclusive
    hw: tuple[int, int]  # height and width of the mask

    @staticmethod
    def of(mask_hw: np.ndarray, box: tuple[int, int, int, int]) -> PackedMask:
        """Pack a mask ``[H, W]`` bool that is False outside of `box`."""
        x0, y0, x1, y1 = box
        height, width = mask_hw.shape
        return PackedMask(np.packbits(mask_hw[y0:y1, x0:x1]), box, (height, width))

    def unpacked(self) -> np.ndarray:
        """``[H, W]`` bool."""
        x0, y0, x1, y1 = self.box
        rows, columns = y1 - y0, x1 - x0
        mask = np.zeros(self.hw, bool)
        mask[y0:y1, x0:x1] = np.unpackbits(self.bits, count=rows * columns).reshape(rows, columns)
        return mask


def object_pixels(values_hw: np.ndarray) -> np.ndarray:
    """The pixels of the object in a mask.

    Args:
        values_hw: ``[H, W]``. Bool: as it is. Floats 0..1: above 0.5. Integers of 0 and one other value: not 0.
            Integers with soft edges, as drawing programs and JPEG make them: above half of the object's value.

    Returns:
        ``[H, W]`` bool.

    Raises:
        UserError: logits, numbers that are not finite or below 0, or the numbers of several objects.
    """
    kind = values_hw.dtype.kind
    if kind == "b":
        return values_hw
    if kind == "f":
        return _of_floats(values_hw)
    if kind not in "iu":
        raise UserError(f"mask of type {values_hw.dtype}; expected bool, floats from 0 to 1, or integers")
    present, counts = values_and_counts(values_hw)
    if len(present) and present[0] < 0:
        raise UserError(f"mask with the value {present[0]}; expected 0 outside of the object")
    if len(present[present > 0]) <= 1:
        return values_hw != 0
    if (edge := edge_level(values_hw, present, counts)) is not None:
        return values_hw > edge
    raise UserError(
        f"mask with the values {listed(present)}; expected 0 and one other value: give the pixels of one object, such "
        "as mask == 1"
    )


def values_and_counts(values_hw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values in ascending order, and how often each occurs."""
    if values_hw.dtype in (np.uint8, np.uint16):
        # Counted, as np.unique sorts: for a camera's image that takes a tenth of a second.
        counts = np.bincount(values_hw.ravel())
        present = np.flatnonzero(counts)
        return present, counts[present]
    return np.unique(values_hw, return_counts=True)


def edge_level(values_hw: np.ndarray, present: np.ndarray, counts: np.ndarray) -> float | None:
    """The level at which to cut soft edges: half of the object's value. None if the mask has no soft edges.

    In a mask with soft edges most pixels are near 0 or near the object's value, and the values between change from
    pixel to pixel. Numbers of several objects fill areas instead, and a photograph has most of its pixels between.

    Args:
        values_hw: ``[H, W]`` integers.
        present: first result of `values_and_counts`.
        counts: second result of `values_and_counts`.
    """
    upper = present > present[-1] / 2
    reached = np.cumsum(counts[upper])
    # The median of the bright half: a JPEG overshoots at edges, so its highest value is not the object's.
    high = float(present[upper][np.searchsorted(reached, reached[-1] / 2)])
    if high < LEAST_SOFT or present[0] > 0.1 * high:
        return None
    middle = (present > 0.1 * high) & (present < 0.8 * high)
    if counts[middle].sum() > 2 * counts[present >= 0.8 * high].sum():
        return None
    between = present[(present > 0) & (present < high)]
    if len(between) <= 3 and not middle.any():
        return None  # such as 0, 1 and 255
    values = values_hw.astype(np.float32)
    square = np.ones((3, 3), np.uint8)
    level = cv2.erode(values, square) == cv2.dilate(values, square)
    below = values < 0.8 * high
    # Black of a JPEG may be 1 everywhere, and its noise may be constant over some squares; an edge never is.
    dark = present <= 0.04 * high
    black = present[dark][counts[dark].argmax()] if counts[0] < 0.1 * counts.sum() else 0
    filled = (
        _share(level[below & (values > black)]) > 0.3 or _share(level[below & (values > 0.1 * high)]) > 0.15
    )
    return None if filled else high / 2


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if chosen.size else 0.0


def listed(values: np.ndarray) -> str:
    """Some numbers in words: "0, 1 and 255"."""
    shown = [str(int(value)) for value in values[:_SEVERAL_SHOWN]]
    if len(values) > _SEVERAL_SHOWN:
        return f"{', '.join(shown)} and {len(values) - _SEVERAL_SHOWN} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _of_floats(values_hw: np.ndarray) -> np.ndarray:
    if not np.isfinite(values_hw).all():
        raise UserError("mask with numbers that are not finite; expected floats from 0 to 1")
    if values_hw.size and (values_hw.min() < 0 or values_hw.max() > 1):
        raise UserError(
            f"mask of floats from {values_hw.min():g} to {values_hw.max():g}; expected floats from 0 to 1, of which "
            "the object has more than 0.5; of logits give mask > 0"
        )
    return values_hw > 0.5
