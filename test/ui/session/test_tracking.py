# SPDX-License-Identifier: Apache-2.0
"""How a tracker gets its memory as of a frame: from the start, from a snapshot, or primed; which of them is exact."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")

from sam2_ros.engine import Tracker, TrackerConfig
from sam2_ros.synthetic.render import ClipConfig, render_clip
from sam2_ros.ui.session.snapshots import Kept, Snapshots
from sam2_ros.ui.session.tracking import NEAR_FRAMES, PRIMED_FRAMES, DirectedTracker, Keyframe, SourceView
from sam2_ros.weights.load import load_model

FRAMES = 80


@pytest.fixture(scope="module")
def model():
    return load_model("nano", "cpu", "fp32", 128)


@pytest.fixture(scope="module")
def clip():
    return render_clip(9, ClipConfig(96, 128, FRAMES, objects=2, occluders=0, motion_scale=0.5))


def view(clip) -> SourceView:
    return SourceView(lambda i: clip.frames[i], lambda i: False, lambda i: 0, lambda i: i * 40_000_000)


def keyframes(clip, sign: int = 1, **by_object: list[int]) -> dict[int, dict[int, Keyframe]]:
    return {
        number: {
            sign * f: Keyframe(10 * number + f, False, lambda n=number, f=f: clip.masks[f, n - 1])
            for f in frames
        }
        for number, frames in zip((1, 2), by_object.values(), strict=False)
    }


def run(tracker: DirectedTracker, positions: list[int], keys) -> dict[int, dict[str, np.ndarray]]:
    found = {}
    for position in positions:
        result = tracker.step(position, keys)
        assert result is not None
        found[position] = {obj.id: obj.logits for obj in result.objects}
    return found


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[id], other[id]) for id in one)


@pytest.mark.parametrize("sign", [1, -1])
def test_going_on_from_a_snapshot_is_exact_and_nearest_first(model, clip, sign):
    first, frames = (0, range(40)) if sign > 0 else (60, range(-60, -20))
    keys = keyframes(clip, sign, a=[first], b=[first])
    snapshots = Snapshots(1 << 30)
    straight = DirectedTracker(model, 2, sign, view(clip), snapshots)
    assert straight.path_to(sign * first, keys) == [sign * first]
    expected = run(straight, list(frames), keys)
    assert len(snapshots) == 5
    again = DirectedTracker(model, 2, sign, view(clip), snapshots)
    middle = frames[30]
    path = again.path_to(middle, keys)
    assert 1 <= len(path) < 8
    found = run(again, [*path, *range(middle + 1, frames[-1] + 1)], keys)
    assert again.exact
    assert all(equal(found[position], expected[position]) for position in found)


def test_a_snapshot_of_other_prompts_is_not_used(model, clip):
    snapshots = Snapshots(1 << 30)
    tracker = DirectedTracker(model, 2, 1, view(clip), snapshots)
    keys = keyframes(clip, a=[0])
    run(tracker, list(range(20)), keys)
    changed = {1: {0: Keyframe(99, False, keys[1][0].mask)}}
    assert DirectedTracker(model, 2, 1, view(clip), snapshots).path_to(12, changed) == list(range(13))
    later = keyframes(clip, a=[0, 10])
    assert DirectedTracker(model, 2, 1, view(clip), snapshots).path_to(12, later) == [9, 10, 11, 12]


def test_without_a_snapshot_a_tracker_far_from_its_keyframes_is_primed_and_near_to_exact(model, clip):
    keys = keyframes(clip, a=[0, 5], b=[0])
    straight = run(DirectedTracker(model, 2, 1, view(clip), Snapshots(0)), list(range(FRAMES)), keys)
    tracker = DirectedTracker(model, 2, 1, view(clip), Snapshots(0))
    path = tracker.path_to(70, keys)
    assert path == [0, 5, *range(70 - PRIMED_FRAMES, 71)]
    assert not tracker.exact
    found = run(tracker, [*path, *range(71, FRAMES)], keys)
    for position in range(71, FRAMES):
        for id, logits in found[position].items():
            one, other = logits > 0, straight[position][id] > 0
            assert (one & other).sum() >= 0.9 * (one | other).sum()


def test_near_its_first_keyframe_a_tracker_starts_there_which_is_exact(model, clip):
    tracker = DirectedTracker(model, 2, 1, view(clip), Snapshots(0))
    assert tracker.path_to(NEAR_FRAMES + 3, keyframes(clip, a=[3])) == list(range(3, NEAR_FRAMES + 4))
    assert tracker.exact


def test_an_empty_keyframe_is_no_prompt(model, clip):
    keys = keyframes(clip, a=[0], b=[0])
    keys[2][0] = Keyframe(7, True, lambda: np.zeros((96, 128), bool))
    tracker = DirectedTracker(model, 2, 1, view(clip), Snapshots(0))
    assert set(run(tracker, [0, 1], keys)[1]) == {"1"}
    assert tracker.objects == {1}


def test_old_snapshots_make_room_for_new_ones(model):
    snapshot = Tracker(model, TrackerConfig(max_objects=1)).snapshot()
    snapshots = Snapshots(3 * snapshot.bytes)
    for position in range(6):
        snapshots.add(1, Kept(position, ((0, 1, 1),), snapshot, True))
    assert len(snapshots) == 3
    assert snapshots.nearest(1, 2, 10, [(0, 1, 1)]) is None
    found = snapshots.nearest(1, 9, 10, [(0, 1, 1)])
    assert found is not None
    assert found.position == 5
