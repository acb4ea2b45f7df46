# SPDX-License-Identifier: Apache-2.0
"""Properties of the tracker that do not depend on weights: ids, validation, room for objects, constant memory."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_models import random_model

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import ObjectState, Prompt, PromptError, Tracker, TrackerConfig, config_for
from sam2_ros.engine.model.sam2 import Sam2Model

HEIGHT, WIDTH = 120, 160
BOX = (20.0, 30.0, 90.0, 100.0)


@pytest.fixture(scope="module")
def model():
    return random_model(config_for("nano1").at_image_size(256), seed=3)


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(24)]


def follow(tracker, frames, prompts_by_frame):
    return [tracker.step(frame, prompts_by_frame.get(i, ())) for i, frame in enumerate(frames)]


def test_a_label_stays_with_its_id_and_is_never_reused(model, frames):
    tracker = Tracker(model, TrackerConfig(max_objects=2))
    tracker.step(frames[0], [Prompt("a", box=BOX), Prompt("b", box=BOX)])
    assert tracker.remove("a")
    assert not tracker.remove("a")
    second = tracker.step(frames[1], [Prompt("c", box=BOX)])
    assert {o.id: o.label for o in second.objects} == {"b": 2, "c": 3}
    tracker.reset()
    third = tracker.step(frames[2], [Prompt("a", box=BOX)])
    assert {o.id: o.label for o in third.objects} == {"a": 4}


def test_the_label_of_the_newest_object_is_not_reused_when_that_is_removed(model, frames):
    tracker = Tracker(model, TrackerConfig(max_objects=2))
    tracker.step(frames[0], [Prompt("a", box=BOX), Prompt("b", box=BOX)])
    tracker.remove("b")
    second = tracker.step(frames[1], [Prompt("c", box=BOX)])
    assert {o.id: o.label for o in second.objects} == {"a": 1, "c": 3}
    tracker.remove("c")
    third = tracker.step(frames[2], [Prompt("c", box=BOX)])  # the same name is another object
    assert {o.id: o.label for o in third.objects} == {"a": 1, "c": 4}


def test_an_object_without_room_is_rejected_with_the_reason_and_the_others_go_on(model, frames):
    tracker = Tracker(model, TrackerConfig(max_objects=1))
    result = tracker.step(frames[0], [Prompt("a", box=BOX), Prompt("b", box=BOX)])
    assert [o.id for o in result.objects] == ["a"]
    assert "max_objects = 1" in result.rejected["b"]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (Prompt("cup"), "no points, no box and no mask"),
        (Prompt("cup", box=(0, 0, 0, 10)), "no area"),
        (Prompt("cup", box=(float("nan"), 0, 5, 10)), "not finite"),
        (Prompt("cup", box=(500, 0, 600, 10)), "outside the image"),
        (Prompt("cup", points=np.array([[WIDTH, 5]])), "outside the image"),
        (Prompt("cup", points=np.array([[np.inf, 5]])), "not finite"),
        (Prompt("cup", points=np.array([[5, 5]]), labels=np.array([2])), "1 (object) or 0"),
        (Prompt("cup", mask=np.ones((HEIGHT, WIDTH + 1), bool)), f"{WIDTH + 1} x {HEIGHT} pixels"),
        (Prompt("cup", mask=np.zeros((HEIGHT, WIDTH), bool)), "without a pixel"),
        (Prompt("", box=BOX), "without an id"),
    ],
)
def test_a_bad_prompt_is_one_clear_line_and_changes_nothing(model, frames, prompt, words):
    tracker = Tracker(model)
    tracker.step(frames[0], [Prompt("a", box=BOX)])
    with pytest.raises(PromptError) as error:
        tracker.step(frames[1], [Prompt("b", box=BOX), prompt])
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert tracker.object_ids == ["a"]
    assert tracker.step(frames[1]).frame_index == 1


def test_a_box_that_is_partly_outside_is_clipped(model, frames):
    results = [
        Tracker(model).step(frames[0], [Prompt("a", box=box)]).objects[0].logits
        for box in ((-50, -50, 90, 100), (0, 0, 90, 100))
    ]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 4), (0, WIDTH, 3)])
def test_a_frame_that_is_not_rgb_uint8_is_refused(model, shape):
    with pytest.raises(ValueError, match="expected \\[H, W, 3\\] uint8 RGB"):
        Tracker(model).step(np.zeros(shape, np.uint8))


def test_a_mask_prompt_comes_back_as_the_mask(model, frames):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:90, 40:120] = True
    shown = Tracker(model).step(frames[0], [Prompt("a", mask=mask)]).objects[0]
    assert (shown.mask & mask).sum() / (shown.mask | mask).sum() > 0.95
    assert shown.state == ObjectState.TRACKING
    assert shown.presence == 10
    assert shown.box[0] == pytest.approx(40, abs=2)
    assert shown.box[3] == pytest.approx(90, abs=2)


def test_a_mask_with_an_axis_in_front_is_the_same_mask(model, frames):
    """The official predictors return masks as `[1, H, W]`."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:90, 40:120] = True
    with_it, without = (
        Tracker(model).step(frames[0], [Prompt("a", mask=given)]).objects[0] for given in (mask[None], mask)
    )
    np.testing.assert_array_equal(with_it.logits, without.logits)
    with pytest.raises(PromptError, match="2 pixels"):
        Tracker(model).step(frames[0], [Prompt("a", mask=np.stack([mask, mask]))])


def test_a_repeated_id_on_one_frame_is_one_prompt(model, frames):
    split = Tracker(model).step(
        frames[0], [Prompt("a", box=BOX), Prompt("a", points=np.array([[50, 60]]), labels=np.array([1]))]
    )
    whole = Tracker(model).step(
        frames[0], [Prompt("a", box=BOX, points=np.array([[50, 60]]), labels=np.array([1]))]
    )
    np.testing.assert_array_equal(split.objects[0].logits, whole.objects[0].logits)


def test_a_prompt_that_replaces_forgets_those_before_it_on_the_same_frame(model, frames):
    click = Prompt("a", points=np.array([[50.0, 60.0]]), class_id="mug")
    both = Tracker(model).step(
        frames[0], [Prompt("a", box=BOX, class_id="cup"), replace(click, replace=True)]
    )
    alone = Tracker(model).step(frames[0], [click])
    assert np.array_equal(both.objects[0].logits, alone.objects[0].logits)
    assert both.objects[0].class_id == "mug"
    kept = Tracker(model).step(frames[0], [replace(click, replace=True), Prompt("a", box=BOX)])
    merged = Tracker(model).step(frames[0], [click, Prompt("a", box=BOX)])
    assert np.array_equal(kept.objects[0].logits, merged.objects[0].logits)


def test_replace_gives_what_a_new_object_gives(model, frames):
    veteran = Tracker(model)
    follow(veteran, frames[:5], {0: [Prompt("a", box=BOX)]})
    replaced = veteran.step(frames[5], [Prompt("a", box=(60, 40, 120, 110), replace=True)])
    fresh = Tracker(model).step(frames[5], [Prompt("a", box=(60, 40, 120, 110))])
    np.testing.assert_allclose(replaced.objects[0].logits, fresh.objects[0].logits, atol=1e-5)
    assert replaced.objects[0].label == 1


def test_a_correction_uses_memory_in_stream_and_starts_anew_in_official_video(model, frames):
    box = (60, 40, 120, 110)
    fresh = Tracker(model).step(frames[5], [Prompt("a", box=box)]).objects[0].logits
    differs = {}
    for numerics in ("stream", "official_video"):
        tracker = Tracker(model, TrackerConfig(numerics=numerics, fill_hole_area=0))
        follow(tracker, frames[:5], {0: [Prompt("a", box=BOX)]})
        corrected = tracker.step(frames[5], [Prompt("a", box=box)]).objects[0].logits
        differs[numerics] = float(np.abs(corrected - fresh).max())
    assert differs["official_video"] < 1e-4 < differs["stream"]


@pytest.mark.parametrize(("policy", "remembered"), [("official", 6), ("visible", 1)])
def test_frames_without_the_object_are_remembered_by_the_official_policy_alone(
    model, frames, policy, remembered
):
    absent = Sam2Model(model.config)
    absent.load_state_dict(fill_by_key(absent.state_dict(), presence_bias=-100.0))
    tracker = Tracker(absent, TrackerConfig(memory_policy=policy))
    results = follow(tracker, frames[:6], {0: [Prompt("a", box=BOX)]})
    assert all(result.objects[0].presence < 0 for result in results)
    assert tracker.bank.view([0], now=6).spatial_bftc.shape[1] == remembered


def test_the_memory_policy_follows_the_numerics():
    assert TrackerConfig().memory_policy == "visible"
    assert TrackerConfig(numerics="official_video").memory_policy == "official"
    assert TrackerConfig(numerics="official_vos", memory_policy="visible").memory_policy == "visible"


def test_a_prompt_can_be_undone_and_undoing_the_last_one_removes_the_object(model, frames):
    tracker = Tracker(model)
    follow(tracker, frames[:4], {0: [Prompt("a", box=BOX)], 2: [Prompt("a", box=(60, 40, 120, 110))]})
    assert not tracker.take_back("a", 1)
    assert not tracker.take_back("b", 0)
    assert tracker.take_back("a", 0)
    assert not tracker.take_back("a", 0)
    assert [obj.id for obj in tracker.step(frames[4]).objects] == ["a"]
    assert tracker.take_back("a", 2)
    assert tracker.object_ids == []
    assert tracker.step(frames[5]).objects == []


def test_holes_are_filled_as_the_numerics_say(model, frames):
    filled = {
        numerics: TrackerConfig(numerics=numerics).fill_hole_area
        for numerics in ("stream", "official_image", "official_video", "official_vos")
    }
    assert filled == {"stream": 0, "official_image": 0, "official_video": 8, "official_vos": 0}
    masks = [
        Tracker(model, TrackerConfig(fill_hole_area=area)).step(frames[0], [Prompt("a", box=BOX)]).objects[0]
        for area in (0, 8)
    ]
    assert (masks[1].logits == np.float32(0.1)).sum() > 0  # random weights make masks full of holes
    np.testing.assert_array_equal(
        masks[0].logits > 0, (masks[1].logits > 0) & (masks[1].logits != np.float32(0.1))
    )


def test_a_correction_is_fed_the_mask_with_its_holes_filled(model, frames, monkeypatch):
    from sam2_ros.engine.postprocess import fill_holes

    shown, fed = [], []
    decode = model.decode

    def recorded(fused, features, points=None, labels=None, dense=None, evidence_b6hw=None):
        fed.append(dense)
        return decode(fused, features, points, labels, dense, evidence_b6hw)

    visible = Sam2Model(model.config)
    visible.load_state_dict(fill_by_key(visible.state_dict(), presence_bias=100.0))
    decode = visible.decode
    monkeypatch.setattr(visible, "decode", recorded)
    tracker = Tracker(visible, TrackerConfig(fill_hole_area=8))
    tracker.step(frames[0], [Prompt("a", box=BOX)])
    monkeypatch.setattr(
        visible, "predict", lambda *a, **k: shown.append(Sam2Model.predict(visible, *a, **k)) or shown[-1]
    )
    tracker.step(frames[1], [Prompt("a", points=np.array([[50.0, 60.0]]))])
    tracked = shown[0].logits_b1hw  # as the tracker found it, before the click
    assert (fill_holes(tracked, 8) != tracked).any()
    torch.testing.assert_close(fed[-1], fill_holes(tracked, 8).clamp(-32, 32))


def test_masks_do_not_overlap_when_asked(model, frames):
    prompts = [Prompt("a", box=BOX), Prompt("b", box=(60, 40, 120, 110))]
    shared, parted = (
        Tracker(model, TrackerConfig(non_overlap=alone)).step(frames[0], prompts).objects
        for alone in (False, True)
    )
    assert (shared[0].mask & shared[1].mask).any()
    assert not (parted[0].mask & parted[1].mask).any()
    np.testing.assert_array_equal(parted[0].mask | parted[1].mask, shared[0].mask | shared[1].mask)


def test_after_a_discontinuity_only_what_was_prompted_is_remembered(model, frames):
    def last(history):
        tracker = Tracker(model)
        tracker.step(frames[0], [Prompt("a", box=BOX)])
        for frame in history:
            tracker.step(frame)
        tracker.discontinuity()
        return tracker.step(frames[20]).objects[0].logits

    np.testing.assert_allclose(last(frames[1:4]), last(frames[7:10]), atol=1e-5)


def test_stamps_default_to_thirty_frames_a_second_and_are_kept_otherwise(model, frames):
    tracker = Tracker(model)
    assert tracker.step(frames[0]).stamp_s == 0
    assert tracker.step(frames[1]).stamp_s == pytest.approx(1 / 30)
    assert tracker.step(frames[2], stamp_s=1234.5).stamp_s == 1234.5


def test_a_stream_without_objects_costs_no_memory_stages(model, frames):
    result = Tracker(model).step(frames[0])
    assert result.objects == []
    assert result.label_image().max() == 0
    assert result.timings_ms["total"] > 0
    assert "memory_attention" not in result.timings_ms


def test_a_frame_that_fails_takes_only_the_objects_it_was_to_create(model, frames, monkeypatch):
    tracker = Tracker(model)
    first = tracker.step(frames[0], [Prompt("a", box=BOX)])
    with monkeypatch.context() as broken:
        broken.setattr(model, "encode_memory", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tracker.step(frames[1], [Prompt("b", box=BOX)])
    after = tracker.step(frames[2])
    assert [(o.id, o.label) for o in after.objects] == [("a", first.objects[0].label)]


def resident_bytes() -> int:
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


@pytest.mark.slow
def test_a_thousand_frames_use_the_memory_of_a_hundred(model):
    """Run with `pytest -m slow test/engine/test_tracker.py`."""
    torch.set_num_threads(2)
    rng = np.random.default_rng(0)
    tracker = Tracker(model)
    bank_bytes = tracker.bank_bytes
    resident = {}
    for index in range(1000):
        frame = rng.integers(0, 255, (480, 640, 3), np.uint8)
        tracker.step(frame, [Prompt("a", box=(100, 100, 300, 300))] if index == 0 else ())
        if index + 1 in (100, 1000):
            resident[index + 1] = resident_bytes()
            assert tracker.bank_bytes == bank_bytes
    assert resident[1000] <= 1.02 * resident[100], resident
