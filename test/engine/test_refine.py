# SPDX-License-Identifier: Apache-2.0
"""More prompts on the newest frame: what they change, what stays, and when there is nothing to refine."""

from __future__ import annotations

import numpy as np
import pytest
from random_models import random_model

from sam2_ros.engine import ObjectState, Prompt, PromptError, Tracker, TrackerConfig, config_for
from sam2_ros.weights.load import load_model

HEIGHT, WIDTH = 120, 200
BOX = (60.0, 30.0, 120.0, 90.0)
CLICK, OTHER = np.array([[90.0, 60.0]]), np.array([[20.0, 20.0]])


@pytest.fixture(scope="module")
def model():
    return load_model("nano", device="cpu", precision="fp32", image_size=256)


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frames = []
    for index in range(8):
        frame = rng.integers(90, 130, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        frame[(x - 90 - 3 * index) ** 2 + (y - 60) ** 2 < 28**2] = (230, 60, 40)
        frames.append(frame)
    return frames


def click(id="a", at=CLICK, label=1, **more):
    return Prompt(id, points=at, labels=np.array([label]), **more)


def only(result):
    (found,) = result.objects
    return found


def test_a_second_click_is_fed_the_answer_to_the_first(model, frames):
    one_by_one, at_once = Tracker(model), Tracker(model)
    first = one_by_one.step(frames[0], [click()])
    second = one_by_one.refine([click(at=OTHER, label=0)])
    both = at_once.step(
        frames[0], [Prompt("a", points=np.concatenate([CLICK, OTHER]), labels=np.array([1, 0]))]
    )
    assert second.frame_index == first.frame_index
    assert second.stamp_s == first.stamp_s
    assert only(second).label == only(first).label
    assert np.abs(only(second).logits - only(first).logits).max() > 0.1
    assert np.abs(only(second).logits - only(both).logits).max() > 0.1
    assert one_by_one.step(frames[1]).frame_index == 1


def test_clicks_in_one_call_are_those_of_one_call_after_the_other(model, frames):
    together, apart = Tracker(model), Tracker(model)
    for tracker in (together, apart):
        tracker.step(frames[0], [click()])
    more = [click(at=OTHER, label=0), click(at=np.array([[100.0, 70.0]]))]
    both = together.refine(more)
    apart.refine(more[:1])
    last = apart.refine(more[1:])
    np.testing.assert_array_equal(only(both).logits, only(last).logits)
    np.testing.assert_array_equal(only(together.step(frames[1])).logits, only(apart.step(frames[1])).logits)


def test_a_refined_frame_is_one_conditioning_frame(model, frames):
    tracker = Tracker(model)
    for index, frame in enumerate(frames[:4]):
        tracker.step(frame, [click()] if index == 0 else ())
    for _ in range(6):  # more than there are conditioning frames
        tracker.refine([click(at=OTHER, label=0)])
    frames_of = tracker.bank.spatial_frame[0]
    conditioning = tracker.bank.conditioning
    assert sorted(frames_of[:conditioning][frames_of[:conditioning] >= 0]) == [0, 3]
    assert 3 not in frames_of[conditioning:]
    assert 3 not in tracker.bank.pointer_frame[0, conditioning:]


def test_a_correction_that_is_not_conditioning_stays_a_recent_frame(frames):
    model = random_model(config_for("nano1").at_image_size(128))
    tracker = Tracker(model, TrackerConfig(corrections_are_conditioning=False, memory_policy="official"))
    for index, frame in enumerate(frames[:4]):
        tracker.step(frame, [click()] if index == 0 else [click(at=OTHER, label=0)] if index == 2 else ())
    tracker.refine([click(at=OTHER, label=0)])
    frames_of = tracker.bank.spatial_frame[0]
    conditioning = tracker.bank.conditioning
    assert frames_of[:conditioning][frames_of[:conditioning] >= 0].tolist() == [0]
    assert {1, 2, 3} <= set(frames_of[conditioning:])
    assert not tracker.take_back("a", 2)  # it is not a conditioning frame
    # After replace the frame is conditioning in any case: the object has no other.
    tracker.refine([click(replace=True)])
    assert tracker.bank.spatial_frame[0, :conditioning].max() == 3
    assert tracker.bank.has_conditioning(0)


def test_what_corrections_become_follows_the_numerics():
    assert TrackerConfig().corrections_are_conditioning is True
    assert TrackerConfig(numerics="official_video").corrections_are_conditioning is False
    chosen = TrackerConfig(numerics="official_video", corrections_are_conditioning=True)
    assert chosen.corrections_are_conditioning is True


def test_a_refined_object_leaves_the_others_as_they_are(model, frames):
    tracker = Tracker(model)
    tracker.step(frames[0], [Prompt("a", box=BOX), Prompt("b", box=(5.0, 5.0, 50.0, 50.0))])
    before = {obj.id: obj for obj in tracker.step(frames[1]).objects}
    after = {obj.id: obj for obj in tracker.refine([click(at=OTHER, label=0)]).objects}
    assert list(after) == ["a", "b"]
    np.testing.assert_array_equal(after["b"].logits, before["b"].logits)
    assert (after["b"].state, after["b"].age_s) == (before["b"].state, before["b"].age_s)
    assert not np.array_equal(after["a"].logits, before["a"].logits)


def test_a_new_object_can_come_with_the_newest_frame(model, frames):
    late, in_time = Tracker(model), Tracker(model)
    late.step(frames[0])
    refined = late.refine([Prompt("a", box=BOX)])
    stepped = in_time.step(frames[0], [Prompt("a", box=BOX)])
    np.testing.assert_array_equal(only(refined).mask, only(stepped).mask)
    assert only(refined).state == ObjectState.TRACKING
    np.testing.assert_array_equal(only(late.step(frames[1])).logits, only(in_time.step(frames[1])).logits)


def test_a_box_or_a_mask_takes_the_place_of_what_was_prompted(model, frames):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:90, 60:120] = True
    for prompt in (Prompt("a", box=BOX), Prompt("a", mask=mask), Prompt("a", mask=mask[None])):
        refined, fresh = Tracker(model), Tracker(model)
        refined.step(frames[0], [click(at=OTHER)])
        again = only(refined.refine([prompt]))
        np.testing.assert_array_equal(again.logits, only(fresh.step(frames[0], [prompt])).logits)


def test_a_removed_object_is_not_refined_under_another_id(model, frames):
    for leave in ("remove", "replace", "forgotten"):
        config = TrackerConfig(max_objects=1, forget_after_s=0.01 if leave == "forgotten" else 30.0)
        tracker, fresh = Tracker(model, config), Tracker(model, config)
        tracker.step(frames[0], [click()])
        if leave == "forgotten":
            black = np.zeros_like(frames[0])
            stamps = iter(range(1, 100))
            while tracker.object_ids:
                tracker.step(black, stamp_s=float(next(stamps)))
            tracker.refine([click("b")])
            expected = fresh.step(black, [click("b")])
        else:
            tracker.remove("a") if leave == "remove" else None
            tracker.refine([click("b" if leave == "remove" else "a", replace=leave == "replace")])
            expected = fresh.step(frames[0], [click("b")])
        found = tracker.refine([])
        np.testing.assert_allclose(only(found).logits, only(expected).logits, atol=1e-5, err_msg=leave)


def test_an_invalid_prompt_or_one_without_room_changes_nothing(model, frames):
    tracker = Tracker(model, TrackerConfig(max_objects=1))
    before = only(tracker.step(frames[0], [click()]))
    full = tracker.refine([click("b")])
    assert "max_objects = 1" in full.rejected["b"]
    assert [obj.id for obj in full.objects] == ["a"]
    with pytest.raises(PromptError, match="outside the image"):
        tracker.refine([click(at=OTHER, label=0), click(at=np.array([[5000.0, 5.0]]))])
    np.testing.assert_array_equal(only(tracker.refine([])).logits, before.logits)


def test_without_a_frame_there_is_nothing_to_refine(model, frames):
    tracker = Tracker(model)
    with pytest.raises(RuntimeError, match="no frame to refine: call step with a frame first"):
        tracker.refine([click()])
    for leave in (tracker.restart, tracker.discontinuity):
        tracker.step(frames[0], [click()])
        leave()
        with pytest.raises(RuntimeError, match="no frame to refine"):
            tracker.refine([click()])


def test_refining_one_object_does_not_count_as_another_frame_for_the_others(model, frames):
    """An object is hidden after two frames below the threshold; clicks on another object do not count as a frame."""
    tracker = Tracker(model, TrackerConfig(present_on=1e9, present_off=1e8, hysteresis_frames=2))
    tracker.step(frames[0], [click(), click("b", OTHER)])
    for _ in range(3):
        states = {obj.id: obj.state for obj in tracker.refine([click("b", OTHER)]).objects}
        assert states["a"] == ObjectState.TRACKING
    assert tracker.step(frames[1]).objects[0].state == ObjectState.OCCLUDED
