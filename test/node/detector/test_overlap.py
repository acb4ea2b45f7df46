# SPDX-License-Identifier: Apache-2.0
"""Overlap measures: box with box, and box with masks of difficult shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_ros.node.detector.overlap import assign, box_iou, box_ious, measure_overlap

SIZE_HW = (200, 300)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def compare(box, mask: np.ndarray):
    """(iou, covered, filled, affinity) of one box and one mask."""
    overlap = measure_overlap(np.array([box], float), np.array([tight_box(mask)], float), [mask])
    return tuple(
        float(field[0, 0]) for field in (overlap.iou, overlap.covered, overlap.filled, overlap.affinity)
    )


def diagonal() -> np.ndarray:
    """A pen, 3 px thick, from corner to corner of 20..180 x 20..120."""
    mask = np.zeros(SIZE_HW, bool)
    for x in range(20, 180):
        y = 20 + (x - 20) * 100 // 160
        mask[y : y + 3, x] = True
    return mask


def corner() -> np.ndarray:
    """An L: a column on the left and a foot along the bottom."""
    mask = np.zeros(SIZE_HW, bool)
    mask[20:180, 20:50] = True
    mask[150:180, 20:220] = True
    return mask


@pytest.mark.parametrize("shape", [diagonal, corner])
def test_the_tight_box_of_any_shape_is_a_perfect_match(shape):
    mask = shape()
    assert compare(tight_box(mask), mask)[3] == pytest.approx(1.0)


def test_a_box_in_the_empty_corner_of_an_l_is_not_the_l():
    iou, covered, _, affinity = compare((60, 20, 220, 145), corner())
    assert iou > 0.5
    assert covered == 0.0
    assert affinity == 0.0


def test_stray_pixels_do_not_spoil_the_match():
    mask = np.zeros(SIZE_HW, bool)
    mask[50:100, 50:100] = True
    mask[180:183, 280:283] = True
    iou, _, _, affinity = compare((50, 50, 100, 100), mask)
    assert iou < 0.1
    assert affinity > 0.95


def test_a_box_around_a_small_mask_is_not_that_mask():
    mask = np.zeros(SIZE_HW, bool)
    mask[100:120, 100:120] = True
    _, covered, _, affinity = compare((20, 20, 220, 190), mask)
    assert covered == 1.0
    assert affinity < 0.05


def test_a_box_inside_a_large_mask_is_filled_by_it():
    mask = np.zeros(SIZE_HW, bool)
    mask[20:180, 20:180] = True
    _, _, filled, affinity = compare((60, 60, 90, 90), mask)
    assert filled == 1.0
    assert affinity < 0.05


def test_a_box_over_half_of_a_mask_is_half_of_it():
    assert compare((20, 20, 100, 70), diagonal())[3] == pytest.approx(0.5, abs=0.03)


def test_a_mask_without_a_pixel_counts_as_its_box():
    empty = np.zeros(SIZE_HW, bool)
    boxes, objects = np.array([[10.0, 10, 50, 50]]), np.array([[10.0, 10, 50, 90]])
    assert measure_overlap(boxes, objects, [empty]).affinity == pytest.approx(
        measure_overlap(boxes, objects, [None]).affinity
    )


def test_boxes_that_reach_out_of_the_image_are_measured_inside_it():
    mask = np.zeros(SIZE_HW, bool)
    mask[:60, :80] = True
    assert compare((-20, -20, 80, 60), mask)[1] == 1.0


edges = st.integers(0, 60)
boxes = st.tuples(edges, edges, st.integers(1, 60), st.integers(1, 60)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(st.lists(boxes, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_counts_agree_with_counting_pixels(given_boxes, seed):
    mask = np.random.default_rng(seed).random((100, 120)) < 0.1
    mask[10, 10] = True
    overlap = measure_overlap(np.array(given_boxes, float), np.array([tight_box(mask)], float), [mask])
    for row, (x0, y0, x1, y1) in enumerate(given_boxes):
        window = mask[y0:y1, x0:x1]
        count = int(window.sum())
        extent = 0
        if count:
            left, top, right, bottom = tight_box(window)
            extent = (right - left) * (bottom - top)
        area = (x1 - x0) * (y1 - y0)
        assert overlap.covered[row, 0] == pytest.approx(count / mask.sum())
        assert overlap.filled[row, 0] == pytest.approx(count / area)
        product = count / mask.sum() * extent / area
        assert overlap.affinity[row, 0] >= product - 1e-9
        assert 0.0 <= overlap.affinity[row, 0] <= 1.0 + 1e-9


def test_a_large_mask_is_sampled_and_still_right():
    mask = np.zeros((1080, 1920), bool)
    rows, columns = np.mgrid[:1080, :1920]
    mask[((columns - 960) / 900) ** 2 + ((rows - 540) / 500) ** 2 < 1] = True
    _, covered, filled, affinity = compare((60, 40, 960, 1040), mask)
    assert covered == pytest.approx(0.5, abs=0.01)
    assert filled == pytest.approx(np.pi / 4, abs=0.01)
    assert affinity == pytest.approx(0.5, abs=0.02)


def test_nothing_against_nothing():
    none = np.zeros((0, 4))
    assert measure_overlap(none, none, []).affinity.shape == (0, 0)
    assert measure_overlap(np.array([[0.0, 0, 1, 1]]), none, []).affinity.shape == (1, 0)
    assert assign(np.zeros((0, 3)), np.zeros((0, 3), bool)) == []


def test_iou_of_boxes_is_what_it_is_by_hand():
    a, b, apart = (0.0, 0.0, 10.0, 10.0), (5.0, 0.0, 15.0, 10.0), (20.0, 0.0, 30.0, 10.0)
    assert box_ious(np.array([a]), np.array([a, b, apart]))[0] == pytest.approx([1, 1 / 3, 0])
    assert [box_iou(a, other) for other in (a, b, apart)] == pytest.approx([1, 1 / 3, 0])


def test_the_assignment_takes_one_good_pair_rather_than_two_poor_ones():
    gain = np.array([[0.9, 0.25], [0.25, 0.0]])
    assert assign(gain, gain > 0.1) == [(0, 0)]
