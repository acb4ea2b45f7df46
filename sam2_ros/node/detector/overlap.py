# SPDX-License-Identifier: Apache-2.0
"""Measures the overlap of boxes and masks, and distinguishes the same object from one object inside another.

Knows pixels only; does not know scores, classes, states or time. Boxes are x0 y0 x1 y1, maximum exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

Box = tuple[float, float, float, float]

SAMPLES = 256  # per side: a mask is sampled on at most this many rows and columns of its box
SIZE_RATIO = 2.0  # boxes that differ more in size are not the same object by position alone


class Boxed(Protocol):
    """Anything with a box in the image."""

    @property
    def box(self) -> Box: ...


@dataclass(frozen=True)
class Overlap:
    """Overlap of N detected boxes with M objects, each array ``[N, M]`` float64, 0..1.

    Attributes:
        iou: IoU of the detected box and the object's box.
        covered: share of the object's pixels that lie in the detected box.
        filled: share of the detected box filled by the object's pixels.
        affinity: how well the detected box agrees with the object's box, see `measure_overlap`.
    """

    iou: np.ndarray
    covered: np.ndarray
    filled: np.ndarray
    affinity: np.ndarray


def measure_overlap(
    boxes_n4: np.ndarray, objects_m4: np.ndarray, masks: Sequence[np.ndarray | None]
) -> Overlap:
    """Compare detected boxes with objects given by their tight boxes and, where known, ``[H, W]`` bool masks.

    The IoU of a mask with the pixels of a box is small for a diagonal or hollow object, even if the box is perfect.
    Instead, two shares are measured: the share of the mask that the detected box covers, and the share of the detected
    box that the extent of this covered part spans. Their product is 1 for the tight box of any shape, and stays near 1
    if stray pixels far away enlarge the object's own box. The affinity is the larger of this product and the box IoU,
    where the IoU is limited to the covered share: a box in the empty corner of an L is not the L. An object without a
    mask counts as filling its box.
    """
    iou = box_ious(boxes_n4, objects_m4)
    shared = _intersections(boxes_n4, objects_m4)
    covered = shared / np.maximum(areas(objects_m4)[None, :], 1e-9)
    filled = shared / np.maximum(areas(boxes_n4)[:, None], 1e-9)
    extent = covered * filled
    for column, mask_hw in enumerate(masks):
        touching = np.flatnonzero(shared[:, column] > 0)
        if mask_hw is None or not len(touching):
            continue
        if measured := _measure_mask(boxes_n4[touching], objects_m4[column], mask_hw):
            covered[touching, column], filled[touching, column], extent[touching, column] = measured
    return Overlap(iou, covered, filled, np.maximum(extent, np.minimum(iou, covered)))


def _measure_mask(
    boxes_n4: np.ndarray, object_4: np.ndarray, mask_hw: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(covered, filled, covered * share of the box that the covered extent spans), each ``[N]``.

    None if the mask has no pixel in its box. Uses a summed-area table of sampled pixels: the cost per mask is bounded
    for any size, and one table serves all boxes.
    """
    height, width = mask_hw.shape
    x0, x1 = (int(np.clip(edge, 0, width)) for edge in (object_4[0], object_4[2]))
    y0, y1 = (int(np.clip(edge, 0, height)) for edge in (object_4[1], object_4[3]))
    if x0 >= x1 or y0 >= y1:
        return None
    step_x, step_y = -(-(x1 - x0) // SAMPLES), -(-(y1 - y0) // SAMPLES)
    samples = mask_hw[y0 + step_y // 2 : y1 : step_y, x0 + step_x // 2 : x1 : step_x]
    table = np.zeros((samples.shape[0] + 1, samples.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(samples, axis=0, dtype=np.int32), axis=1, out=table[1:, 1:])
    if table[-1, -1] == 0:
        return None

    lows = np.rint((boxes_n4[:, :2] - (x0, y0)) / (step_x, step_y))
    highs = np.rint((boxes_n4[:, 2:] - (x0, y0)) / (step_x, step_y))
    limit = (samples.shape[1], samples.shape[0])
    left, top = np.clip(lows, 0, limit).astype(np.int64).T
    right, bottom = np.clip(highs, 0, limit).astype(np.int64).T
    count = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]

    first_row, end_row = _span(np.diff(table[:, right] - table[:, left], axis=0), top, bottom)
    first_column, end_column = _span(np.diff(table[bottom] - table[top], axis=1).T, left, right)
    extent_n4 = np.stack(
        [
            x0 + first_column * step_x,
            y0 + first_row * step_y,
            x0 + end_column * step_x,
            y0 + end_row * step_y,
        ],
        axis=1,
    )
    area = np.maximum(areas(boxes_n4), 1e-9)
    covered = count / table[-1, -1]
    filled = np.minimum(count * (step_x * step_y) / area, 1.0)
    spanned = _pairwise_intersection(boxes_n4, extent_n4) / area
    return covered, filled, covered * spanned


def _span(counts_kn: np.ndarray, low_n: np.ndarray, high_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First line with a pixel and one past the last, among lines low..high, for each of N boxes; both 0 if none."""
    line_k1 = np.arange(len(counts_kn))[:, None]
    used_kn = (counts_kn > 0) & (line_k1 >= low_n) & (line_k1 < high_n)
    first_n = used_kn.argmax(axis=0)
    end_n = np.where(used_kn.any(axis=0), len(counts_kn) - used_kn[::-1].argmax(axis=0), first_n)
    return first_n, end_n


def as_boxes(things: Sequence[Boxed]) -> np.ndarray:
    """``[N, 4]`` float64, also for none."""
    return np.array([each.box for each in things], np.float64).reshape(-1, 4)


def assign(gain_nm: np.ndarray, allowed_nm: np.ndarray) -> list[tuple[int, int]]:
    """The allowed pairs (n, m), each n and m at most once, with the largest sum of gains (all > 0).

    Solved as a linear assignment problem (scipy); a pair that is not allowed has gain 0 and is left out.
    """
    rows, columns = linear_sum_assignment(np.where(allowed_nm, gain_nm, 0.0), maximize=True)
    return [(int(n), int(m)) for n, m in zip(rows, columns, strict=True) if allowed_nm[n, m]]


def box_ious(a_n4: np.ndarray, b_m4: np.ndarray) -> np.ndarray:
    """``[N, M]`` intersection over union."""
    shared = _intersections(a_n4, b_m4)
    union = areas(a_n4)[:, None] + areas(b_m4)[None, :] - shared
    return shared / np.maximum(union, 1e-9)


def box_iou(a: Box, b: Box | None) -> float:
    """IoU of two boxes in plain Python, faster than arrays; 0 if `b` is None."""
    if b is None:
        return 0.0
    sides = (min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1]))
    shared = max(sides[0], 0.0) * max(sides[1], 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def areas(boxes_n4: np.ndarray) -> np.ndarray:
    """``[N]`` square pixels."""
    return (boxes_n4[:, 2] - boxes_n4[:, 0]) * (boxes_n4[:, 3] - boxes_n4[:, 1])


def sizes(boxes_n4: np.ndarray) -> np.ndarray:
    """``[N]`` mean side in pixels."""
    return (boxes_n4[:, 2] - boxes_n4[:, 0] + boxes_n4[:, 3] - boxes_n4[:, 1]) / 2


def similar_sizes(a_n4: np.ndarray, b_m4: np.ndarray) -> np.ndarray:
    """``[N, M]`` bool: neither box is more than SIZE_RATIO times as large as the other."""
    ratio = sizes(a_n4)[:, None] / sizes(b_m4)[None, :]
    return (ratio <= SIZE_RATIO) & (ratio >= 1 / SIZE_RATIO)


def distances(a_n4: np.ndarray, b_m4: np.ndarray) -> np.ndarray:
    """``[N, M]`` pixels between the centres."""
    a_n2, b_m2 = ((boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (a_n4, b_m4))
    return np.linalg.norm(a_n2[:, None] - b_m2[None], axis=-1)


def _intersections(a_n4: np.ndarray, b_m4: np.ndarray) -> np.ndarray:
    return _pairwise_intersection(a_n4[:, None], b_m4[None])


def _pairwise_intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection area of boxes ``[..., 4]``, broadcast."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.prod(np.maximum(sides, 0.0), axis=-1)
