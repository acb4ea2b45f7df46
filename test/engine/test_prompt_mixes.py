# SPDX-License-Identifier: Apache-2.0
"""Any legal mix of prompts gives finite masks of the image's size; any other raises PromptError."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import random_model

from sam2_ros.engine import ImageSegmenter, Prompt, PromptError, Tracker, TrackerConfig, config_for

HEIGHT, WIDTH = 48, 72
MODEL = random_model(config_for("nano").at_image_size(128), seed=1)
FRAME = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)

# Not inside the first pixel, where numbers are taken for fractions of the image.
inside = st.tuples(st.floats(1.01, WIDTH - 0.01), st.floats(0, HEIGHT - 0.01))
clicks = st.lists(st.tuples(inside, st.integers(0, 1)), min_size=1, max_size=5)
anywhere = st.floats(allow_nan=True, allow_infinity=True, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    x0, y0 = draw(st.floats(-20, WIDTH - 2)), draw(st.floats(-20, HEIGHT - 2))
    return x0, y0, max(x0, 0) + draw(st.floats(1.01, 200)), max(y0, 0) + draw(st.floats(0.5, 200))


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    x, y = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    mask[y : y + draw(st.integers(1, 40)), x : x + draw(st.integers(1, 40))] = True
    return mask


@st.composite
def prompts(draw: st.DrawFn) -> Prompt:
    points, box, mask = draw(st.none() | clicks), draw(st.none() | boxes()), draw(st.none() | masks())
    if points is None and box is None and mask is None:
        box = draw(boxes())
    return Prompt(
        "thing",
        points=None if points is None else np.array([xy for xy, _ in points]),
        labels=None if points is None else np.array([label for _, label in points]),
        box=box,
        mask=mask,
    )


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(first=prompts(), correction=prompts())
def test_a_tracker_answers_any_legal_mix(first: Prompt, correction: Prompt) -> None:
    tracker = Tracker(MODEL, TrackerConfig(max_objects=1))
    for given_prompts in ([first], [correction], []):
        (found,) = tracker.step(FRAME, given_prompts).objects
        assert found.mask.shape == (HEIGHT, WIDTH)
        assert found.mask.dtype == bool
        assert np.isfinite(found.logits).all()
        assert np.isfinite([found.score, found.presence]).all()
        assert found.area_px == found.mask.sum()


@settings(max_examples=40, deadline=None)
@given(points=st.none() | clicks, box=st.none() | boxes(), multimask=st.booleans())
def test_a_segmenter_answers_any_legal_mix(
    points: list[tuple[tuple[float, float], int]] | None,
    box: tuple[float, float, float, float] | None,
    multimask: bool,
) -> None:
    segmenter = ImageSegmenter(MODEL)
    segmenter.set_image(FRAME)
    arguments = {
        "points": None if points is None else np.array([xy for xy, _ in points]),
        "labels": None if points is None else np.array([label for _, label in points]),
        "box": box,
        "multimask": multimask,
    }
    if points is None and box is None:
        with pytest.raises(PromptError, match="expected"):
            segmenter.predict(**arguments)
        return
    found = segmenter.predict(**arguments)
    assert found.masks.shape == (3 if multimask else 1, HEIGHT, WIDTH)
    assert np.isfinite(found.logits).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    again = segmenter.predict(mask=found.logits[0], multimask=False)  # an output is a legal input
    assert again.masks.shape == (1, HEIGHT, WIDTH)


@settings(max_examples=60, deadline=None)
@given(point=st.tuples(anywhere, anywhere), box=st.tuples(anywhere, anywhere, anywhere, anywhere))
def test_any_numbers_are_taken_or_refused_in_one_line_and_leave_nothing_behind(
    point: tuple[float, float], box: tuple[float, float, float, float]
) -> None:
    (x, y), (x0, y0, x1, y1) = point, box
    fractional_point = x <= 1 and y <= 1 and not (x in (0, 1) and y in (0, 1))
    legal_point = 0 <= x < WIDTH and 0 <= y < HEIGHT and not fractional_point
    legal_box = x0 < x1 and y0 < y1 and x1 > 0 and x0 < WIDTH and y1 > 0 and y0 < HEIGHT
    legal_box = legal_box and not (x0 >= 0 and y0 >= 0 and x1 <= 1 and y1 <= 1)
    finite_box = bool(np.isfinite(box).all())
    tracker = Tracker(MODEL, TrackerConfig(max_objects=1))
    for prompt, legal in (
        (Prompt("thing", points=np.array([point])), legal_point),
        (Prompt("thing", box=box), legal_box and finite_box),
    ):
        if legal:
            prompt.validated(HEIGHT, WIDTH)
            continue
        with pytest.raises(PromptError, match="expected") as raised:
            tracker.step(FRAME, [prompt])
        assert "\n" not in str(raised.value)
        assert tracker.object_ids == []
