# SPDX-License-Identifier: Apache-2.0
"""Boxes and clicks from masks small enough to check by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_ros.engine.postprocess import tight_box
from sam2_ros.eval.benchmark.prompting import Clicks, correcting_click


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[y0:y1, x0:x1] = True
    return mask


EMPTY = rectangle(0, 0, 0, 0)


def test_the_box_is_half_open_and_tight() -> None:
    assert tight_box(rectangle(3, 5, 20, 30)) == (3, 5, 20, 30)
    assert tight_box(rectangle(59, 39, 60, 40)) == (59, 39, 60, 40)


def test_the_first_click_is_the_centre_of_the_object() -> None:
    assert correcting_click(EMPTY, rectangle(10, 10, 21, 21)) == (15, 15, 1)
    # A dumbbell: its centre of mass is on the thin bar, its deepest pixel in the larger end.
    dumbbell = rectangle(2, 10, 13, 21) | rectangle(13, 15, 40, 16) | rectangle(40, 12, 47, 19)
    assert correcting_click(EMPTY, dumbbell) == (7, 15, 1)


def test_the_end_of_the_image_is_an_edge() -> None:
    assert correcting_click(EMPTY, rectangle(0, 0, 11, 11)) == (5, 5, 1)


def test_the_next_click_is_in_the_deeper_error() -> None:
    truth = rectangle(10, 10, 21, 21)
    # 3 px wide are missing, 7 x 7 px far away are extra: the extra ones get the click
    answer = rectangle(13, 10, 21, 21) | rectangle(40, 20, 47, 27)
    assert correcting_click(answer, truth) == (43, 23, 0)
    assert correcting_click(rectangle(13, 10, 21, 21), truth) is not None
    x, _, label = correcting_click(rectangle(13, 10, 21, 21), truth) or (0, 0, 0)
    assert (x, label) == (11, 1)


def test_a_right_answer_gets_no_click() -> None:
    truth = rectangle(10, 10, 21, 21)
    clicks = Clicks()
    assert clicks.add_on_error(EMPTY, truth)
    assert not clicks.add_on_error(truth, truth)
    prompt = clicks.prompt("cup")
    assert (prompt.id, prompt.points.tolist(), prompt.labels.tolist()) == ("cup", [[15, 15]], [1])  # type: ignore[union-attr]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_click_is_always_on_an_error_and_says_which(seed: int) -> None:
    rng = np.random.default_rng(seed)
    answer, truth = rng.random((2, 12, 17)) < rng.random()
    click = correcting_click(answer, truth)
    if click is None:
        assert (answer == truth).all()
    else:
        x, y, label = click
        assert answer[int(y), int(x)] != truth[int(y), int(x)]
        assert truth[int(y), int(x)] == label
