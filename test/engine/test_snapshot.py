# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a tracker: it goes on from one as if nothing had happened since."""

from __future__ import annotations

import numpy as np
import pytest

from sam2_ros.engine import Prompt, Tracker, TrackerConfig
from sam2_ros.synthetic.render import ClipConfig, render_clip
from sam2_ros.weights.load import load_model

BOXES = {"a": (10.0, 10, 50, 60), "b": (60.0, 40, 110, 100)}


@pytest.fixture(scope="module")
def model():
    return load_model("nano", "cpu", "fp32", 128)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return render_clip(3, ClipConfig(128, 128, 16, objects=2)).frames


def logits(tracker: Tracker, frames: np.ndarray, prompts: dict[int, list[Prompt]]) -> list[np.ndarray]:
    found = [tracker.step(frame, prompts.get(index, [])) for index, frame in enumerate(frames)]
    return [np.array([obj.logits for obj in result.objects]) for result in found]


def test_a_restored_tracker_gives_the_results_that_it_gave_before(model, frames):
    tracker = Tracker(model, TrackerConfig(max_objects=2))
    prompts = [Prompt(id, box=box) for id, box in BOXES.items()]
    logits(tracker, frames[:8], {0: prompts})
    snapshot = tracker.snapshot()
    states = [(t.id, t.state, t.last_visible_s) for t in tracker.tracks]
    first = logits(tracker, frames[8:], {3: [Prompt("a", points=np.array([[30.0, 30]]))]})
    tracker.remove("b")
    tracker.restore(snapshot)
    assert [(t.id, t.state, t.last_visible_s) for t in tracker.tracks] == states
    assert tracker.frame_index == 8
    again = logits(tracker, frames[8:], {3: [Prompt("a", points=np.array([[30.0, 30]]))]})
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one, other)


def test_another_tracker_goes_on_from_a_snapshot_which_stays_as_it_was(model, frames):
    tracker = Tracker(model, TrackerConfig(max_objects=2))
    logits(tracker, frames[:6], {0: [Prompt("a", box=BOXES["a"])]})
    snapshot = tracker.snapshot()
    straight = logits(tracker, frames[6:], {})
    for _ in range(2):
        other = Tracker(model, TrackerConfig(max_objects=2))
        other.restore(snapshot)
        for one, two in zip(straight, logits(other, frames[6:], {}), strict=True):
            assert np.array_equal(one, two)
    assert 0 < snapshot.bytes <= tracker.bank_bytes


def test_a_snapshot_of_another_shape_is_refused_and_changes_nothing(model, frames):
    tracker = Tracker(model, TrackerConfig(max_objects=2))
    other = Tracker(model, TrackerConfig(max_objects=3))
    logits(other, frames[:2], {0: [Prompt("a", box=BOXES["a"])]})
    with pytest.raises(ValueError, match="expected a tracker of the same model and settings"):
        other.restore(tracker.snapshot())
    assert other.object_ids == ["a"]
    assert other.frame_index == 2


def test_refine_needs_a_frame_after_a_restore(model, frames):
    tracker = Tracker(model, TrackerConfig(max_objects=1))
    logits(tracker, frames[:2], {0: [Prompt("a", box=BOXES["a"])]})
    tracker.restore(tracker.snapshot())
    with pytest.raises(RuntimeError, match="no frame to refine"):
        tracker.refine([Prompt("a", box=BOXES["a"])])
