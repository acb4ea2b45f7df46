# SPDX-License-Identifier: Apache-2.0
"""Looking for recalled objects: found where they are, whatever else is there, and not found where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from sam2_ros.engine import ObjectState, Prompt, Tracker, TrackerConfig
from sam2_ros.engine.stored_object import recall_objects, store_objects
from sam2_ros.synthetic.render import ClipConfig, render_clip
from sam2_ros.weights.load import load_model

CLIP = ClipConfig(320, 240, 12, objects=2)


@pytest.fixture(scope="module")
def model():
    return load_model("nano", "cpu")


@pytest.fixture(scope="module")
def clips():
    return [render_clip(seed, CLIP) for seed in (3, 11, 17)]


def learn(model, clip, number: int = 0):
    """An object as its first frames show it."""
    tracker = Tracker(model, TrackerConfig(max_objects=1))
    for index in (0, 2):
        tracker.step(clip.frames[index], [Prompt("it", mask=clip.masks[index, number])])
    return [each.prompted_only() for each in store_objects(tracker)]


def seek(model, stored, frames, **fields):
    tracker = Tracker(model, TrackerConfig(max_objects=3, **fields))
    recall_objects(tracker, stored, seek=True)
    return [tracker.step(frame).objects[0] for frame in frames]


def test_an_object_is_found_where_it_is(model, clips):
    clip = clips[0]
    found = seek(model, learn(model, clip), clip.frames[6:])
    states = [obj.state for obj in found]
    assert states[0] == ObjectState.PENDING  # hysteresis: one image is not enough
    assert not found[0].mask.any()
    assert states[1:] == [ObjectState.TRACKING] * (len(found) - 1)
    for obj, truth in zip(found[1:], clip.masks[7:, 0], strict=True):
        assert (obj.mask & truth).sum() / (obj.mask | truth).sum() > 0.7


def test_it_is_not_found_where_it_is_not(model, clips):
    clip = clips[0]
    stored = learn(model, clip)
    for other in clips[1:]:
        # present_on below every score: the likeness alone decides
        found = seek(model, stored, other.frames, present_on=-50.0, present_off=-50.0, lost_after_s=0.1)
        assert {obj.state for obj in found} == {ObjectState.PENDING}
        assert not any(obj.mask.any() for obj in found)


def test_what_is_sought_is_no_rival_to_what_is_tracked(model, clips):
    clip, other = clips[0], clips[1]
    stored = learn(model, other)
    prompt = Prompt("cup", mask=clip.masks[0, 0])
    alone, beside = (Tracker(model, TrackerConfig(max_objects=2)) for _ in range(2))
    recall_objects(beside, stored, seek=True)
    for index, frame in enumerate(clip.frames):
        given = [prompt] if index == 0 else []
        one = alone.step(frame, given).objects[0]
        two = next(obj for obj in beside.step(frame, given).objects if obj.id == "cup")
        assert np.allclose(one.logits, two.logits, atol=1e-3)
