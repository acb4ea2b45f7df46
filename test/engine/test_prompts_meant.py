# SPDX-License-Identifier: Apache-2.0
"""Interpretation of prompts: values of masks, pixels and not fractions, one box per object, names that are text."""

from __future__ import annotations

import dataclasses
import logging

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from random_models import random_model

from sam2_ros.engine import ImageSegmenter, Prompt, PromptError, Tracker, TrackerConfig, config_for
from sam2_ros.text import readable, text_problem

HEIGHT, WIDTH = 120, 160
BOX = (20.0, 30.0, 90.0, 100.0)
DISC = cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (70, 60), 30, 1, -1)


@pytest.fixture(scope="module")
def model():
    return random_model(config_for("nano").at_image_size(128), seed=3)


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


def taken(mask: object) -> np.ndarray:
    """The mask of a validated prompt."""
    found = Prompt("cup", mask=mask).validated(HEIGHT, WIDTH).mask  # type: ignore[arg-type]
    assert found is not None
    assert found.dtype == np.bool_
    return found


@pytest.mark.parametrize(
    "mask",
    [
        DISC > 0,
        DISC,
        DISC * 255,
        DISC.astype(np.uint16) * 700,
        DISC.astype(np.int64) * 3,
        DISC.astype(np.float32),
        DISC * 0.6 + (DISC == 0) * 0.4,
        DISC.astype(np.float16) * 0.51,
        Image.fromarray(DISC * 255),
        Image.fromarray(DISC > 0),
    ],
)
def test_a_mask_of_any_type_is_the_same_object(mask: object) -> None:
    np.testing.assert_array_equal(taken(mask), DISC > 0)


@pytest.mark.parametrize("sigma", [0.8, 3.0])
def test_soft_edges_are_cut_at_half(sigma: float) -> None:
    soft = cv2.GaussianBlur(DISC * 200, (0, 0), sigma)
    np.testing.assert_array_equal(taken(soft), soft > 100)
    np.testing.assert_array_equal(taken(soft / 200.0), soft > 100)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.where(DISC > 0, 4.0, -6.0), "mask of floats from -6 to 4; expected .* of logits give mask > 0"),
        (np.where(DISC > 0, np.nan, 0.0), "numbers that are not finite"),
        (np.where(DISC > 0, 1, -1), "mask with the value -1"),
        (np.maximum(DISC, 2 * np.roll(DISC, 65, axis=1)), "values 0, 1 and 2; expected .* mask == 1"),
        (np.where(cv2.dilate(DISC, np.ones((9, 9))) > DISC, 255, DISC), "values 0, 1 and 255"),
        (DISC.astype(complex), "mask of type complex128"),
        (DISC * 0, "without a pixel of the object"),
        (np.repeat(DISC[:, :, None], 3, 2), "mask of 3 x 160 x 120 pixels"),
    ],
)
def test_a_mask_of_no_single_object_is_refused(mask: np.ndarray, said: str) -> None:
    with pytest.raises(PromptError, match=f"prompt 'cup': .*{said}"):
        taken(mask)


def test_a_mask_of_the_whole_image_is_accepted_with_a_warning(model, frame, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        result = Tracker(model).step(frame, [Prompt("all", mask=np.ones((HEIGHT, WIDTH), bool))])
    assert result.objects[0].area_px > 0.9 * HEIGHT * WIDTH
    assert "'all': its mask covers the whole image" in caplog.text


@pytest.mark.parametrize("box", [(0.08, 0.36, 0.29, 0.64), (0, 0, 1, 1), (0.0, 0.5, 0.5, 1.0)])
def test_a_box_in_fractions_of_the_image_is_refused_with_the_remedy(box) -> None:
    with pytest.raises(PromptError, match="fractions of the image; expected pixels: multiply x by the width"):
        Prompt("cup", box=box).validated(HEIGHT, WIDTH)


def test_points_in_fractions_of_the_image_are_refused() -> None:
    with pytest.raises(PromptError, match=r"points \(0.25, 0.5\), \(1, 0.7\) are fractions"):
        Prompt("cup", points=np.array([(0.25, 0.5), (1, 0.7)])).validated(HEIGHT, WIDTH)


@pytest.mark.parametrize("points", [[(0, 0)], [(1, 1)], [(0.5, 0.5), (30, 40)], [(1.5, 0.5)]])
def test_clicks_near_the_corner_are_clicks(points) -> None:
    checked = Prompt("cup", points=np.array(points)).validated(HEIGHT, WIDTH)
    np.testing.assert_allclose(checked.points, points)


def test_on_an_image_of_few_pixels_small_numbers_are_pixels() -> None:
    assert Prompt("cup", box=(0, 0, 1, 1)).validated(2, 2).box == (0, 0, 1, 1)


def test_a_box_given_by_width_and_height_is_refused_with_the_remedy() -> None:
    with pytest.raises(PromptError, match=r"\(60, 50, 20, 30\) has no area; expected .* x \+ width"):
        Prompt("cup", box=(60, 50, 20, 30)).validated(HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"box": BOX}, {"box": (1, 2, 30, 40)}, "two boxes"),
        ({"mask": DISC > 0}, {"mask": np.roll(DISC, 5) > 0}, "two masks"),
        ({"box": BOX, "class_id": "a"}, {"points": [(30, 40)], "class_id": "b"}, "two classes, 'a' and 'b',"),
    ],
)
def test_two_prompts_that_contradict_in_one_step_are_refused_and_nothing_changes(
    model, frame, first, second, said
) -> None:
    tracker = Tracker(model)
    with pytest.raises(PromptError, match=f"prompt 'cup': {said} at once; expected one"):
        tracker.step(frame, [Prompt("cup", **first), Prompt("cup", **second)])
    assert tracker.object_ids == []


def test_prompts_that_complete_each_other_are_one_prompt(model, frame) -> None:
    clicks, labels = np.array([(40, 50), (80, 90)]), np.array([1, 0])
    whole = Prompt("cup", box=BOX, points=clicks, labels=labels)
    parts = [
        Prompt("cup", box=BOX),
        Prompt("cup", points=clicks[:1], labels=labels[:1]),
        Prompt("cup", points=clicks[1:], labels=labels[1:], box=BOX),
    ]
    one, many = (Tracker(model).step(frame, given).objects for given in ([whole], parts))
    np.testing.assert_array_equal(one[0].logits, many[0].logits)


def test_a_prompt_that_replaces_takes_back_the_box_before_it(model, frame) -> None:
    first, second = Prompt("cup", box=(1, 2, 30, 40)), Prompt("cup", box=BOX, replace=True)
    both, alone = (Tracker(model).step(frame, given).objects for given in ([first, second], [second]))
    np.testing.assert_array_equal(both[0].logits, alone[0].logits)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"id": "a\ud800"}, r"prompt 'a\\ud800': its id is not UTF-8"),
        ({"id": "c\udcff"}, r"prompt 'c\\xff': its id is not UTF-8"),
        ({"id": "a\0b"}, r"prompt 'a\\x00b': its id has a NUL character"),
        ({"id": 5}, "prompt '5': its id is of type int"),
        ({"id": "a", "class_id": "\udfff"}, "prompt 'a': its class_id is not UTF-8"),
    ],
)
def test_a_name_that_is_not_text_is_refused_in_one_line(fields, said: str) -> None:
    with pytest.raises(PromptError, match=said) as raised:
        Prompt(box=BOX, **fields).validated(HEIGHT, WIDTH)
    str(raised.value).encode()


@pytest.mark.parametrize("name", ["カップ", "кружка", "🦖", "a b", "مرحبا", "x" * 300, "a\nb"])
def test_names_in_any_script_are_accepted(model, frame, name: str) -> None:
    assert text_problem(name) == ""
    assert [obj.id for obj in Tracker(model).step(frame, [Prompt(name, box=BOX)]).objects] == [name]


def test_any_text_is_shown_in_one_line_of_utf_8() -> None:
    assert readable("a\nb\0c\ud800\udcff\u202ed\u2028") == r"a\nb\x00c\ud800\xff\u202ed\u2028"
    for text in ("cup", "カップ", "👩\u200d🚀", "Käse"):
        assert readable(text) == text


def test_a_pil_image_is_a_frame_in_every_mode_of_8_bits(model, frame) -> None:
    prompts = [Prompt("cup", box=BOX)]
    tracked = Tracker(model).step(frame, prompts).objects[0].logits
    image = Image.fromarray(frame)
    opaque = np.dstack([frame, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    for given in (image, Image.fromarray(opaque)):
        np.testing.assert_array_equal(Tracker(model).step(given, prompts).objects[0].logits, tracked)
    grey = np.asarray(image.convert("L"))
    expected = Tracker(model).step(np.repeat(grey[:, :, None], 3, 2), prompts).objects[0].logits
    found = Tracker(model).step(image.convert("L"), prompts).objects[0].logits
    np.testing.assert_array_equal(found, expected)


def test_a_pil_image_is_segmented_as_its_array(model, frame) -> None:
    logits = []
    for given in (frame, Image.fromarray(frame)):
        segmenter = ImageSegmenter(model)
        segmenter.set_image(given)
        logits.append(segmenter.predict(box=BOX).logits)
    np.testing.assert_array_equal(*logits)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "frame is None, which cv2.imread returns for a file that it cannot read"),
        ([[[0, 0, 0]]], "frame of type list"),
        ("frame.png", "frame of type str"),
        (Image.new("F", (8, 8)), "PIL image of mode F"),
        (Image.new("I;16", (8, 8)), "PIL image of mode I;16"),
        (np.zeros((8, 8), np.uint8), r"frame of shape \(8, 8\)"),
    ],
)
def test_a_value_that_is_not_a_frame_is_refused_with_what_is_expected(model, given, said: str) -> None:
    with pytest.raises(ValueError, match=f"{said}.*expected"):
        Tracker(model, TrackerConfig()).step(given)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"points": [(30, 40)], "labels": [0.5]}, "labels [0.5]"),
        ({"points": [(30, 40)], "labels": [float("nan")]}, "labels [nan]"),
        ({"points": [(30, 40)], "labels": ["+"]}, "labels ['+'], not numbers"),
        ({"points": [(10**400, 40)]}, "not numbers"),
        ({"points": [(1,), (1, 2)]}, "not numbers"),
        ({"box": "abcd"}, "box 'abcd', not numbers"),
        ({"box": (10**400, 0, 1, 2)}, "not numbers"),
        ({"mask": [[1], [1, 2]]}, "mask of type list is not an array"),
        ({"mask": torch.ones(HEIGHT, WIDTH, requires_grad=True)}, "mask of type Tensor is not an array"),
    ],
)
def test_values_that_are_not_numbers_are_refused_in_one_line(fields, said: str) -> None:
    with pytest.raises(PromptError) as refused:
        Prompt("cup", **fields).validated(HEIGHT, WIDTH)
    assert said in str(refused.value)
    assert "expected" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 300


def test_clicks_that_refine_a_frame_are_bounded_in_all(model, frame) -> None:
    tracker = Tracker(model)
    tracker.step(frame, [Prompt("cup", points=np.full((500, 2), 50.0))])
    tracker.refine([Prompt("cup", points=np.full((500, 2), 50.0))])
    few = Prompt("cup", points=np.full((20, 2), 50.0))
    before = tracker.refine([few]).objects[0].mask
    with pytest.raises(PromptError, match="1,040 points on one frame; expected at most 1,024"):
        tracker.refine([Prompt("jar", box=BOX), few])
    assert tracker.object_ids == ["cup"]
    assert np.array_equal(tracker.refine([]).objects[0].mask, before)
    tracker.refine([Prompt("cup", box=BOX), few])


def test_a_valid_prompt_is_not_checked_again_for_its_size_and_a_changed_copy_is():
    valid = Prompt("cup", box=(4.0, 4.0, 30.0, 20.0)).validated(48, 64)
    assert valid.validated(48, 64) is valid
    with pytest.raises(PromptError, match="outside the image"):
        valid.validated(3, 3)
    with pytest.raises(PromptError, match="no area"):
        dataclasses.replace(valid, box=(4.0, 4.0, 4.0, 20.0)).validated(48, 64)
