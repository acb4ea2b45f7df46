# SPDX-License-Identifier: Apache-2.0
"""Image mode: one image, many prompts; agreement with the tracker on a first frame; refused prompts."""

from __future__ import annotations

import numpy as np
import pytest

from sam2_ros.engine import ImageSegmenter, Prompt, PromptError, Tracker, TrackerConfig
from sam2_ros.weights.load import load_model

HEIGHT, WIDTH = 120, 200
BOX = (60.0, 30.0, 120.0, 90.0)


@pytest.fixture(scope="module")
def model():
    return load_model("nano", device="cpu", precision="fp32", image_size=256)


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    image = rng.integers(90, 130, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image[(x - 90) ** 2 + (y - 60) ** 2 < 28**2] = (230, 60, 40)
    return image


@pytest.fixture(scope="module")
def disc():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (x - 90) ** 2 + (y - 60) ** 2 < 28**2


@pytest.fixture
def segmenter(model, image):
    segmenter = ImageSegmenter(model)
    segmenter.set_image(image)
    return segmenter


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_a_box_finds_the_disc(segmenter, disc):
    masks, scores, logits = segmenter.predict(box=BOX, multimask=False)
    assert masks.shape == (1, HEIGHT, WIDTH)
    assert masks.dtype == bool
    assert iou(masks[0], disc) > 0.8
    assert 0.5 < scores[0] <= 1
    side = segmenter.model.config.mask_side
    assert logits.shape == (1, side, side)
    assert np.abs(logits).max() <= 32


def test_one_click_has_three_candidates(segmenter, disc):
    masks, scores, logits = segmenter.predict(points=np.array([[90, 60]]))
    assert (masks.shape, scores.shape, logits.shape[0]) == ((3, HEIGHT, WIDTH), (3,), 3)
    assert max(iou(mask, disc) for mask in masks) > 0.6
    assert masks[:, 60, 90].any()


def test_the_tracker_answers_the_same_on_a_first_frame(segmenter, model, image):
    tracker = Tracker(model, TrackerConfig(numerics="official_image"))
    tracked = tracker.step(image, [Prompt("disc", box=BOX)]).objects[0]
    masks, scores, logits = segmenter.predict(box=BOX, multimask=False)
    assert tracked.presence > 0  # the tracker blanks what it calls absent; image mode has no such gate
    np.testing.assert_array_equal(masks[0], tracked.mask)
    assert scores[0] == pytest.approx(tracked.score, abs=1e-5)
    np.testing.assert_allclose(logits[0], np.clip(tracked.logits, -32, 32), atol=1e-4)


def test_a_batch_answers_as_one_prompt_after_the_other(segmenter):
    boxes = np.array([BOX, (5, 5, 60, 60), (100, 20, 199, 119)])
    points = np.array([[[90, 60], [10, 10]], [[30, 30], [90, 60]], [[150, 80], [90, 60]]], float)
    labels = np.array([[1, 0]] * 3)
    together = segmenter.predict_batch(points=points, labels=labels, boxes=boxes)
    assert together.masks.shape == (3, 3, HEIGHT, WIDTH)
    for i in range(3):
        alone = segmenter.predict(points=points[i], labels=labels[i], box=boxes[i])
        np.testing.assert_allclose(together.logits[i], alone.logits, atol=2e-3)
        np.testing.assert_allclose(together.scores[i], alone.scores, atol=1e-4)


def test_logits_of_one_prediction_are_a_prompt_of_the_next(segmenter, disc):
    first = segmenter.predict(box=BOX, multimask=False)
    alone = segmenter.predict(mask=first.logits[0], multimask=False)
    beside = segmenter.predict(points=np.array([[90, 60]]), mask=first.logits[0], multimask=False)
    without = segmenter.predict(points=np.array([[90, 60]]), multimask=False)
    assert not np.array_equal(beside.logits, without.logits)
    assert np.isfinite(alone.logits).all()
    assert iou(beside.masks[0], disc) >= 0.5


def test_logits_with_an_axis_in_front_are_the_same_prompt(segmenter):
    """`mask_input` of the official predictor is [1, side, side]."""
    logits = segmenter.predict(box=BOX, multimask=False).logits
    assert logits.shape[0] == 1
    with_it, without = (segmenter.predict(mask=mask, multimask=False) for mask in (logits, logits[0]))
    np.testing.assert_array_equal(with_it.logits, without.logits)
    batch = segmenter.predict_batch(masks=logits[None], multimask=False)
    np.testing.assert_array_equal(batch.logits[0], without.logits)
    three = segmenter.predict(points=[[90, 60]]).logits
    with pytest.raises(PromptError, match=r"shape \[3, \d+, \d+\]"):
        segmenter.predict(mask=three)


def test_a_new_image_takes_the_place_of_the_old(segmenter, image):
    before = segmenter.predict(box=BOX, multimask=False)
    segmenter.set_image(np.ascontiguousarray(image[:, ::-1]))
    after = segmenter.predict(box=BOX, multimask=False)
    assert not np.array_equal(before.masks, after.masks)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ({}, "no points, no box and no mask"),
        ({"labels": [1]}, "no points, no box and no mask"),
        ({"labels": [1], "box": BOX}, "labels without points"),
        ({"points": [[500, 10]]}, "outside the image"),
        ({"points": [[np.nan, 10]]}, "not finite"),
        ({"points": [[5, 5]], "labels": [7]}, "1 (object) or 0"),
        ({"box": (10, 10, 10, 40)}, "has no area"),
        ({"mask": np.zeros((8, 8))}, "expected the finite logits of an earlier prediction"),
    ],
)
def test_an_invalid_prompt_is_refused_in_one_line(segmenter, prompt, said):
    with pytest.raises(PromptError) as refusal:
        segmenter.predict(**prompt)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_batch_of_unequal_numbers_is_refused(segmenter):
    side = segmenter.model.config.mask_side
    with pytest.raises(PromptError, match="2 boxes, 1 masks"):
        segmenter.predict_batch(boxes=np.array([BOX, BOX]), masks=np.zeros((1, side, side)))


def test_prompting_without_an_image_says_what_to_do(model):
    with pytest.raises(RuntimeError, match="call set_image first"):
        ImageSegmenter(model).predict(box=BOX)


def test_images_that_are_set_together_answer_as_one_after_the_other(model, image):
    other = np.ascontiguousarray(image[:80, ::-1])
    together, alone = ImageSegmenter(model), ImageSegmenter(model)
    together.set_images([image, other])
    for index, one in enumerate((image, other)):
        alone.set_image(one)
        expected, found = alone.predict(box=BOX), together.predict(box=BOX, image=index)
        assert found.masks.shape[1:] == one.shape[:2]
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
    with pytest.raises(RuntimeError, match="image 2 is not set: 2 are"):
        together.predict(box=BOX, image=2)
    with pytest.raises(ValueError, match="at least one"):
        together.set_images([])
