# SPDX-License-Identifier: Apache-2.0
"""Copying an object's memories from one tracker to another."""

import numpy as np
import pytest
from random_models import random_model

from sam2_ros.engine import Prompt, Tracker, TrackerConfig, config_for
from sam2_ros.engine.adoption import adopt

BOX = (20.0, 30.0, 90.0, 100.0)
OTHER_BOX = (80.0, 10.0, 150.0, 60.0)


@pytest.fixture(scope="module")
def model():
    return random_model(config_for("nano").at_image_size(256), seed=3)


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (120, 160, 3), np.uint8) for _ in range(24)]


def make(model, **fields):
    return Tracker(model, TrackerConfig(memory_policy="official", max_objects=3, **fields))


def of(result, id):
    return next(obj for obj in result.objects if obj.id == id)


@pytest.mark.parametrize("count", [1, 4, 20])
def test_an_adopted_object_is_tracked_as_if_it_had_been_here_from_the_start(model, frames, count):
    alone, behind, stream = make(model), make(model), make(model)
    stream.step(frames[-1], [Prompt("old", box=OTHER_BOX)])
    for tracker in (alone, behind):
        for index in range(count):
            tracker.step(frames[index], [Prompt("cup", box=BOX, class_id="mug")] if index == 0 else [])
    assert adopt("cup", behind, stream) == ""
    expected, found = (of(tracker.step(frames[count]), "cup") for tracker in (alone, stream))
    assert np.allclose(found.logits, expected.logits, atol=1e-4)
    assert found.presence == pytest.approx(expected.presence, abs=1e-4)
    assert (found.state, found.class_id, found.label) == (expected.state, "mug", 2)


def test_an_object_copied_from_an_earlier_frame_continues_from_there(model, frames):
    stream, behind, expected = make(model), make(model), make(model)
    # One prompted and six recent frames: as many as a bank holds, so that none is overwritten.
    for index in range(7):
        stream.step(frames[index], [Prompt("cup", box=BOX)] if index == 0 else [])
        if index == 3:
            assert adopt("cup", stream, expected) == ""
    assert adopt("cup", stream, behind, before=4) == ""
    for frame in frames[10:13]:  # frames that the stream has not seen
        behind.step(frame)
        expected.step(frame)
    assert adopt("cup", behind, stream) == ""
    found, wanted = of(stream.step(frames[7]), "cup"), of(expected.step(frames[7]), "cup")
    assert np.allclose(found.logits, wanted.logits, atol=1e-5)
    assert found.presence == pytest.approx(wanted.presence, abs=1e-5)
    assert found.label == 1


def test_later_prompts_are_kept_when_an_earlier_state_is_copied(model, frames):
    stream, behind = make(model), make(model)
    stream.step(frames[0], [Prompt("cup", box=BOX)])
    stream.step(frames[1])
    stream.step(frames[2], [Prompt("cup", points=np.array([[50.0, 60.0]]))])
    adopt("cup", stream, behind, before=1)
    assert behind.bank.spatial_frame[0, :4].max() == behind.frame_index - 1
    assert np.count_nonzero(behind.bank.spatial_frame[0] > -100) == 2


def test_an_adopted_object_takes_room(model, frames):
    tracker, behind = make(model), make(model)
    tracker.step(frames[0], [Prompt(name, box=BOX) for name in "abc"])
    behind.step(frames[0], [Prompt("d", box=BOX)])
    assert "max_objects = 3" in adopt("d", behind, tracker)
    assert tracker.object_ids == ["a", "b", "c"]


def test_a_restarted_tracker_is_as_new(model, frames):
    used, new = make(model), make(model)
    used.step(frames[5], [Prompt("a", box=BOX), Prompt("b", box=BOX)])
    used.step(frames[6])
    used.restart()
    for index in range(3):
        prompts = [Prompt("cup", box=BOX)] if index == 0 else []
        found, expected = (tracker.step(frames[index], prompts) for tracker in (used, new))
        assert (found.frame_index, found.objects[0].label) == (index, 1)
        assert np.array_equal(found.objects[0].logits, expected.objects[0].logits)
