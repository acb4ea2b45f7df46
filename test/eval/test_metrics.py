# SPDX-License-Identifier: Apache-2.0
"""Mask metrics compared with values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2_ros.eval.metrics import boundary_f, growth_per_step, mask_boundary, mask_iou, region_j, spread


def rectangle(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_iou_of_half_overlapping_rectangles() -> None:
    # 40 x 20 each, overlap 20 x 20: 400 / (800 + 800 - 400)
    assert mask_iou(rectangle(0, 0, 40, 20), rectangle(20, 0, 60, 20)) == pytest.approx(1 / 3)


def test_iou_without_common_pixel_is_zero_and_of_empty_masks_is_one() -> None:
    empty = rectangle(0, 0, 0, 0)
    assert mask_iou(rectangle(0, 0, 10, 10), rectangle(50, 50, 60, 60)) == 0.0
    assert mask_iou(empty, empty) == 1.0
    assert mask_iou(empty, rectangle(0, 0, 10, 10)) == 0.0


def test_iou_takes_any_non_zero_value_as_object() -> None:
    mask = rectangle(10, 10, 30, 30)
    assert region_j(mask.astype(np.uint8) * 255, mask) == 1.0


def test_masks_of_different_sizes_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"\(120, 160\) and \(60, 80\)"):
        mask_iou(rectangle(0, 0, 5, 5), np.zeros((60, 80), dtype=bool))


def test_boundary_lies_on_both_sides_of_the_upper_left_edge_only() -> None:
    mask = np.zeros((5, 5), dtype=bool)
    mask[2, 2] = True
    expected = np.array(
        [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=bool
    )
    np.testing.assert_array_equal(mask_boundary(mask), expected)


def test_boundary_f_forgives_a_shift_within_tolerance_and_not_beyond() -> None:
    truth = rectangle(40, 40, 100, 80)
    tolerance_px = math.ceil(0.008 * math.hypot(120, 160))
    assert tolerance_px == 2
    assert boundary_f(rectangle(42, 40, 102, 80), truth) == pytest.approx(1.0)
    assert boundary_f(rectangle(50, 50, 110, 90), truth) < 0.25


def test_boundary_f_is_the_harmonic_mean_of_precision_and_recall() -> None:
    # The second rectangle of the prediction is far away, hence wrong: precision 1/2, recall 1.
    truth = rectangle(10, 10, 40, 40)
    prediction = truth | rectangle(90, 60, 120, 90)
    assert boundary_f(prediction, truth) == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_boundary_f_without_outline() -> None:
    empty = rectangle(0, 0, 0, 0)
    assert boundary_f(empty, empty) == 1.0
    assert boundary_f(empty, rectangle(10, 10, 40, 40)) == 0.0
    assert boundary_f(rectangle(10, 10, 40, 40), empty) == 0.0


@given(st.integers(0, 2**32 - 1))
def test_measures_are_symmetric_and_perfect_only_for_equal_masks(seed: int) -> None:
    first, second = np.random.default_rng(seed).random((2, 24, 32)) > 0.6
    assert mask_iou(first, second) == mask_iou(second, first) < 1.0
    assert boundary_f(first, second) == pytest.approx(boundary_f(second, first))
    assert mask_iou(first, first) == boundary_f(first, first) == 1.0


def test_spread_interpolates_percentiles() -> None:
    times = spread(range(1, 102))
    assert (times.count, times.mean, times.p50, times.p95, times.p99) == (101, 51, 51, 96, 100)
    assert times.as_dict() == {"p50": 51, "p95": 96, "p99": 100}
    assert spread([]).as_dict() == {}


def test_growth_is_the_slope_of_a_series_with_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 5, 400)
    assert growth_per_step(list(7.0 * np.arange(400) + noise)) == pytest.approx(7.0, abs=0.05)
    assert growth_per_step(list(7.0 * np.arange(20))) == pytest.approx(7.0)
    assert growth_per_step([3.0]) == 0.0


def test_growth_does_not_count_a_jump_but_a_leak_under_it() -> None:
    jump = np.where(np.arange(5000) < 1000, 0.0, 8e6)
    assert growth_per_step(list(jump)) == 0.0
    assert growth_per_step(list(jump + 40.0 * np.arange(5000))) == pytest.approx(40.0, rel=0.01)
