# SPDX-License-Identifier: Apache-2.0
"""Mask metrics (IoU, J, F of DAVIS) and statistics of measured times.

Arrays in, numbers out; knows no trackers, files or datasets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

BOUNDARY_TOLERANCE = 0.008
"""Tolerance of the boundary measure, as a share of the image diagonal (DAVIS 2016, `db_eval_boundary`)."""


def mask_iou(predicted_hw: np.ndarray, truth_hw: np.ndarray) -> float:
    """Intersection over union of two [H, W] masks (non-zero = object); 1.0 when both are empty.

    >>> mask_iou(np.array([[1, 1, 0]]), np.array([[0, 1, 1]]))
    0.3333333333333333
    """
    predicted, truth = _as_bool_pair(predicted_hw, truth_hw)
    union_px = int(np.count_nonzero(predicted | truth))
    if union_px == 0:
        return 1.0
    return int(np.count_nonzero(predicted & truth)) / union_px


def region_j(predicted_hw: np.ndarray, truth_hw: np.ndarray) -> float:
    """J of the DAVIS benchmark: the region similarity, which is the mask IoU."""
    return mask_iou(predicted_hw, truth_hw)


def boundary_f(predicted_hw: np.ndarray, truth_hw: np.ndarray) -> float:
    """F of the DAVIS benchmark: the agreement of two outlines, 0..1.

    A boundary pixel is correct if the other outline passes within `BOUNDARY_TOLERANCE` times the image's diagonal,
    rounded up to whole pixels. F is the harmonic mean of precision and recall over boundary pixels. It is 1 if neither
    mask has an outline, and 0 if only one has (Perazzi et al. 2016, 5.1).
    """
    predicted, truth = _as_bool_pair(predicted_hw, truth_hw)
    predicted_edge, truth_edge = mask_boundary(predicted), mask_boundary(truth)
    predicted_px, truth_px = int(predicted_edge.sum()), int(truth_edge.sum())
    if predicted_px == 0 and truth_px == 0:
        return 1.0
    if predicted_px == 0 or truth_px == 0:
        return 0.0
    radius_px = math.ceil(BOUNDARY_TOLERANCE * math.hypot(*truth.shape))
    precision = int((predicted_edge & _within(truth_edge, radius_px)).sum()) / predicted_px
    recall = int((truth_edge & _within(predicted_edge, radius_px)).sum()) / truth_px
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def mask_boundary(mask_hw: np.ndarray) -> np.ndarray:
    """``[H, W]`` bool: pixels that differ from their right, lower or lower right neighbour; not the image's border."""
    mask = np.asarray(mask_hw).astype(bool)
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, lower, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return (mask != right) | (mask != lower) | (mask != diagonal)


@dataclass(frozen=True)
class Spread:
    """Mean and percentiles of a set of values; NaN if it is empty."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float

    def as_dict(self) -> dict[str, float]:
        """`{"p50", "p95", "p99"}` rounded for JSON; empty without values, because JSON has no NaN."""
        if self.count == 0:
            return {}
        return {"p50": round(self.p50, 2), "p95": round(self.p95, 2), "p99": round(self.p99, 2)}


def spread(values: Iterable[float]) -> Spread:
    """Mean and percentiles (linear interpolation) of a series."""
    series = np.asarray(list(values), dtype=np.float64)
    if series.size == 0:
        return Spread(0, math.nan, math.nan, math.nan, math.nan)
    p50, p95, p99 = (float(value) for value in np.percentile(series, (50, 95, 99)))
    return Spread(int(series.size), float(series.mean()), p50, p95, p99)


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are neither None nor NaN; None if there is none."""
    there = [value for value in values if value is not None and not math.isnan(value)]
    return float(np.mean(there)) if there else None


def rounded(value: float | None, digits: int = 4) -> float | None:
    """The value rounded for JSON; NaN becomes None, because JSON has no NaN."""
    return None if value is None or math.isnan(value) else round(float(value), digits)


def in_percent(value: float | None) -> float | None:
    """A share (0..1) in percent with two digits, for JSON; None and NaN become None."""
    return None if value is None else rounded(100 * value, 2)


GROWTH_BLOCKS = 60


def growth_per_step(values: Sequence[float]) -> float:
    """Slope of a series: the growth per step. 0 for fewer than two values.

    The median of the slopes between all pairs of points (Theil 1950, Sen 1968). A few jumps, such as an allocator's, do
    not change it. A long series is divided into `GROWTH_BLOCKS` blocks, whose medians are the points.
    """
    if len(values) < 2:
        return 0.0
    blocks = np.array_split(np.asarray(values, dtype=np.float64), min(len(values), GROWTH_BLOCKS))
    middles = np.cumsum([len(block) for block in blocks]) - np.array(
        [(len(block) + 1) / 2 for block in blocks]
    )
    levels = np.array([np.median(block) for block in blocks])
    first, second = np.triu_indices(len(blocks), k=1)
    return float(np.median((levels[second] - levels[first]) / (middles[second] - middles[first])))


def _within(edge_hw: np.ndarray, radius_px: int) -> np.ndarray:
    """[H, W] bool: pixels at most `radius_px` from an edge pixel (a dilation by a disk)."""
    distance = cv2.distanceTransform((~edge_hw).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Distances are float32: the margin keeps pixels that lie exactly on the circle, despite rounding.
    return distance <= radius_px + 1e-3


def _as_bool_pair(predicted_hw: np.ndarray, truth_hw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, truth = np.asarray(predicted_hw).astype(bool), np.asarray(truth_hw).astype(bool)
    if predicted.ndim != 2 or predicted.shape != truth.shape:
        raise ValueError(
            f"masks of shapes {predicted.shape} and {truth.shape} given, two [H, W] masks of one size "
            "expected: resize the prediction to the truth first"
        )
    return predicted, truth
