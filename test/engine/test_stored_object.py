# SPDX-License-Identifier: Apache-2.0
"""Objects that are copied out of a tracker, and recalled by another one."""

from __future__ import annotations

import numpy as np
import pytest
from matching_models import matching_model, moving_boxes
from random_models import random_model

from sam2_ros.engine import ObjectState, Prompt, Tracker, TrackerConfig, config_for
from sam2_ros.engine.stored_object import recall_objects, store_objects

BOXES = {"a": (10.0, 10, 50, 60), "b": (60.0, 40, 110, 100)}
FRAMES = moving_boxes(16)[0]


@pytest.fixture(scope="module", params=["matching", "official"])
def model(request):
    if request.param == "matching":
        return matching_model()
    return random_model(config_for("tiny").at_image_size(128), seed=3)


def make(model, **fields) -> Tracker:
    return Tracker(model, TrackerConfig(**{"max_objects": 3, "memory_policy": "official", **fields}))


def begun(model, frames: int = 8, **fields) -> Tracker:
    tracker = make(model, **fields)
    for index in range(frames):
        prompts = [Prompt(id, box=box, class_id="mug") for id, box in BOXES.items()] if index == 0 else []
        prompts += [Prompt("a", points=np.array([[30.0, 30]]))] if index == 4 else []
        tracker.step(FRAMES[index], prompts)
    return tracker


def logits(tracker: Tracker, frames: np.ndarray) -> list[np.ndarray]:
    return [np.array([obj.logits for obj in tracker.step(frame).objects]) for frame in frames]


@pytest.mark.parametrize("every", [1, 2])
def test_a_recalled_object_is_tracked_as_if_nothing_had_happened(model, every):
    tracker = begun(model, memory_every=every)
    stored = store_objects(tracker)
    expected = logits(tracker, FRAMES[8:])
    other = make(model, memory_every=every)
    other.frame_index = 8
    assert recall_objects(other, stored) == {}
    assert [(t.id, t.label, t.class_id) for t in other.tracks] == [("a", 1, "mug"), ("b", 2, "mug")]
    for one, two in zip(expected, logits(other, FRAMES[8:]), strict=True):
        assert np.array_equal(one, two)


def test_the_numbers_of_policies_are_recalled(model):
    tracker = begun(model, policies=("motion",))
    assert any(track.policy_state.get("motion") for track in tracker.tracks)
    other = make(model, policies=("motion",))
    other.frame_index = 8
    recall_objects(other, store_objects(tracker))
    assert [track.policy_state for track in other.tracks] == [t.policy_state for t in tracker.tracks]
    for one, two in zip(logits(tracker, FRAMES[8:]), logits(other, FRAMES[8:]), strict=True):
        assert np.array_equal(one, two)


def test_a_copy_does_not_change_with_the_tracker(model):
    tracker = begun(model)
    stored = store_objects(tracker)
    before = [t.clone() for each in stored for kind in each.memories for t in kind.tensors.values()]
    logits(tracker, FRAMES[8:])
    tracker.reset()
    after = [t for each in stored for kind in each.memories for t in kind.tensors.values()]
    assert all(np.array_equal(a.float(), b.float()) for a, b in zip(before, after, strict=True))


def test_labels_are_kept_unless_they_were_used_here(model):
    stored = store_objects(begun(model, 2))
    other = make(model)
    other.step(FRAMES[0], [Prompt("c", box=BOXES["a"])])
    recall_objects(other, stored)
    assert [(t.id, t.label) for t in other.tracks] == [("c", 1), ("a", 2), ("b", 3)]
    recall_objects(other, stored)  # the same ids: their memory is replaced, labels stay
    assert [(t.id, t.label) for t in other.tracks] == [("c", 1), ("a", 2), ("b", 3)]


def test_objects_without_room_are_refused_by_name(model):
    refused = recall_objects(make(model, max_objects=1), store_objects(begun(model, 2)))
    assert list(refused) == ["b"]
    assert "max_objects = 1" in refused["b"]


def test_fewer_slots_keep_the_first_and_the_newest_prompted_frame(model):
    tracker = make(model)
    for index in range(4):
        tracker.step(FRAMES[index], [Prompt("a", box=BOXES["a"])])
    stored = store_objects(tracker)
    smaller = make(model, max_conditioning_frames=2, memory_frames=2)
    recall_objects(smaller, stored)
    assert smaller.bank.spatial_frame[0, :2].tolist() == [-4, -1]
    assert smaller.bank.first_frame[0] == -4
    assert len(smaller.step(FRAMES[4]).objects) == 1


def test_prompted_frames_alone_are_what_a_jump_of_the_stream_leaves(model):
    tracker = begun(model)
    prompted = [each.prompted_only() for each in store_objects(tracker)]
    tracker.discontinuity()
    expected = logits(tracker, FRAMES[8:12])
    other = make(model)
    other.frame_index = 8
    recall_objects(other, prompted)
    for one, two in zip(expected, logits(other, FRAMES[8:12]), strict=True):
        assert np.array_equal(one, two)


def test_memories_of_another_shape_change_nothing(model):
    stored = store_objects(begun(model, 2))
    other = make(random_model(config_for("nano").at_image_size(256)))
    with pytest.raises(ValueError, match="object 'a'"):
        recall_objects(other, stored)
    assert other.object_ids == []


def test_an_object_in_two_trackers_has_keys_of_its_own_in_each(model):
    if model.config.matching is None:
        pytest.skip("a model without matching memory has no keys")
    stored = store_objects(begun(model, 3))
    other = begun(model, 3)  # its frames have other ids
    taken = set(other.bank.stores[-1].ids[:2].ravel().tolist())
    recall_objects(other, stored)
    valid = other.bank.stores[-1].frames[:2] > -100
    new = set(other.bank.stores[-1].ids[:2][valid].tolist())
    assert not new & (taken - {0})
    assert len(new) == 3  # both objects have the same three frames: the keys are there once


def test_an_object_that_is_sought_is_pending_and_is_not_forgotten(model):
    tracker = make(model, forget_after_s=1.0, present_on=40.0, present_off=-50.0)
    recall_objects(tracker, store_objects(begun(model)), seek=True)
    written = tracker.bank.stores[0].frames.copy()
    for index in range(8):
        result = tracker.step(FRAMES[8], stamp_s=float(index))
        assert [obj.state for obj in result.objects] == [ObjectState.PENDING] * 2
        assert not any(obj.mask.any() or obj.area_px for obj in result.objects)
    assert np.array_equal(
        tracker.bank.stores[0].frames, written
    )  # it learns nothing from what it does not trust
    found = tracker.step(FRAMES[9], [Prompt("a", box=BOXES["a"])], stamp_s=9.0).objects[0]
    assert found.state in (ObjectState.TRACKING, ObjectState.PENDING)
    assert (found.state == ObjectState.TRACKING) == (found.presence > 0)
