# SPDX-License-Identifier: Apache-2.0
"""Zoom-in on single images: where the crop lies, what it gains on small objects, and that other models do without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sam2_ros.engine import ImageSegmenter, Prompt
from sam2_ros.engine.config import OFFICIAL
from sam2_ros.engine.zoom_in import Crop, crop_around
from sam2_ros.weights.load import load_model

HW = (480, 640)
NOTHING = np.zeros(HW, bool)


def box_prompt(*box):
    return Prompt("cup", box=box).validated(*HW)


def clicks(*points):
    return Prompt(
        "cup", points=np.array([(x, y) for x, y, _ in points]), labels=np.array([sign for *_, sign in points])
    ).validated(*HW)


@pytest.fixture(scope="module")
def model():
    return load_model("nano", device="cpu", precision="fp32", image_size=256)


@pytest.fixture(scope="module")
def stars():
    """A picture with a small five-pointed star, 40 px wide, and its mask."""
    y, x = np.mgrid[: HW[0], : HW[1]]
    angle, radius = np.arctan2(y - 200, x - 300), np.hypot(y - 200, x - 300)
    star = radius < 13 + 7 * np.cos(5 * angle)
    image = np.random.default_rng(0).integers(90, 130, (*HW, 3), dtype=np.uint8)
    image[star] = (230, 60, 40)
    return image, star


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_the_crop_is_around_the_box_and_inside_the_image():
    assert crop_around(box_prompt(300, 200, 400, 250), NOTHING, 2.0) == Crop(250, 125, 450, 325)
    assert crop_around(box_prompt(0, 0, 100, 50), NOTHING, 2.0) == Crop(0, 0, 200, 200)
    assert crop_around(box_prompt(630, 470, 640, 480), NOTHING, 2.0) == Crop(576, 416, 640, 480)


def test_the_crop_holds_the_answer_and_the_clicks_on_the_object():
    answer = NOTHING.copy()
    answer[100:140, 100:140] = True
    crop = crop_around(clicks((120, 120, 1), (199, 120, 1), (600, 20, 0)), answer, 2.0)
    assert crop == Crop(50, 20, 250, 220)


def test_no_crop_where_it_would_be_the_image_or_nothing_is_on_the_object():
    assert crop_around(box_prompt(10, 10, 500, 400), NOTHING, 2.0) is None
    assert crop_around(clicks((10, 10, 0)), NOTHING, 2.0) is None


def test_a_prompt_moves_into_the_crop_without_the_clicks_outside():
    crop = Crop(100, 50, 200, 150)
    moved = crop.prompt(
        Prompt(
            "cup",
            points=np.array([[150, 60], [10, 10]]),
            labels=np.array([1, 0]),
            box=(110, 60, 190, 140),
        ).validated(*HW)
    )
    assert moved.points is not None
    np.testing.assert_array_equal(moved.points, [[50, 10]])
    assert moved.labels is not None
    np.testing.assert_array_equal(moved.labels, [1])
    assert moved.box == (10, 10, 90, 90)
    outside = {"points": np.array([[9, 9]]), "labels": np.array([0])}
    assert crop.prompt(replace(box_prompt(110, 60, 190, 140), **outside)).points is None


def test_a_mask_of_the_crop_lies_where_the_crop_was():
    whole = Crop(600, 400, 640, 480).into(np.ones((80, 40), bool), HW)
    assert whole[400:, 600:].all()
    assert whole.sum() == 80 * 40


@pytest.mark.parametrize("how", ["box", "click"])
def test_a_small_object_has_a_better_outline(model, stars, how):
    image, star = stars
    segmenter = ImageSegmenter(model)
    segmenter.set_image(image)
    prompt = box_prompt(280, 180, 321, 221) if how == "box" else clicks((300, 200, 1))
    first = segmenter.predict(prompt.points, prompt.labels, prompt.box, multimask=how == "click")
    best = int(first.scores.argmax())
    closer = segmenter.answer(prompt)
    assert iou(closer.masks[0], star) > iou(first.masks[best], star) + 0.05
    assert iou(closer.masks[0], star) > 0.75
    np.testing.assert_array_equal(closer.logits[0], first.logits[best])


def test_a_box_does_not_put_out_the_mask_of_the_same_prompt(model, stars):
    image, star = stars
    left = star.copy()
    left[:, 300:] = False
    segmenter = ImageSegmenter(model)
    segmenter.set_image(image)
    box = (280.0, 180.0, 321.0, 221.0)
    alone, with_mask = (
        segmenter.answer(Prompt("star", box=box, mask=mask).validated(*HW)).masks[0] for mask in (None, left)
    )
    assert not np.array_equal(alone, with_mask)


def test_the_last_column_of_the_image_can_be_clicked():
    crop = crop_around(clicks((639.5, 300.2, 1), (600.3, 300.2, 1)), NOTHING, 2.0)
    assert crop is not None
    assert crop.x1 == HW[1]
    moved = crop.prompt(clicks((639.5, 300.2, 1)))
    assert moved.points is not None


def test_official_models_answer_as_the_official_code_does():
    assert all(config.zoom_in == 0 for config in OFFICIAL.values())


def test_without_zoom_in_the_answer_is_the_first_one(model, stars, monkeypatch):
    monkeypatch.setattr(model, "config", replace(model.config, zoom_in=0.0))
    segmenter = ImageSegmenter(model)
    segmenter.set_image(stars[0])
    prompt = box_prompt(280, 180, 321, 221)
    first = segmenter.predict(box=prompt.box, multimask=False)
    np.testing.assert_array_equal(segmenter.answer(prompt).masks, first.masks)
