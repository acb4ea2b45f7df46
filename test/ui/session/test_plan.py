# SPDX-License-Identifier: Apache-2.0
"""The plan of a tracking run: which frames of which objects it writes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")

from sam2_ros.ui.session.plan import Plan, Rows, plan_run

END = 30


def rows(runs: dict[int, int]) -> Rows:
    frames = sorted(runs)
    return Rows(np.array(frames, np.int64), np.array([runs[f] for f in frames], np.int64))


def written(plan: Plan | None, number: int = 1) -> list[int]:
    """Frames that a run of 30 frames would write."""
    if plan is None:
        return []
    positions = range(-END + 1, END)
    end = plan.before_end(END)
    return sorted(plan.sign * at for at in positions if plan.writes(number, at) and at < end)


def test_a_new_object_is_tracked_to_the_end():
    plan = plan_run(3, 1, False, {1: {3: 5}}, {1: rows({3: 5})}, [1])
    assert written(plan) == list(range(4, 30))
    assert plan is not None
    assert plan.start == 3


def test_backward_goes_to_the_first_frame():
    plan = plan_run(3, -1, False, {1: {3: 5}}, {1: rows({3: 5})}, [1])
    assert written(plan) == [0, 1, 2]


def test_after_a_correction_only_the_frames_up_to_the_next_keyframe_are_written():
    keys = {0: 1, 10: 5, 20: 2}
    stored = dict.fromkeys(range(30), 3) | keys
    plan = plan_run(10, 1, False, {1: keys}, {1: rows(stored)}, [1])
    assert written(plan) == list(range(11, 20))
    plan = plan_run(10, -1, False, {1: keys}, {1: rows(stored)}, [1])
    assert written(plan) == list(range(1, 10))


def test_frames_after_a_later_keyframe_are_written_if_it_was_never_tracked_or_changed_since():
    keys = {0: 1, 10: 7, 20: 8}
    stored = dict.fromkeys(range(20), 3) | keys
    assert written(plan_run(0, 1, False, {1: keys}, {1: rows(stored)}, [1])) == [
        f for f in range(1, 30) if f not in keys
    ]
    assert written(plan_run(0, 1, True, {1: keys}, {1: rows(stored)}, [1])) == list(range(1, 10))


def test_tracking_from_a_frame_without_masks_goes_on_from_the_last_one_that_has_them():
    stored = {0: 1} | dict.fromkeys(range(1, 6), 2)
    plan = plan_run(12, 1, False, {1: {0: 1}}, {1: rows(stored)}, [1])
    assert written(plan) == list(range(6, 30))
    plan = plan_run(4, 1, False, {1: {0: 1}}, {1: rows(stored)}, [1])
    assert written(plan) == list(range(5, 30))


def test_nothing_is_planned_without_keyframes_in_that_direction_or_room_behind_them():
    assert plan_run(5, -1, False, {1: {0: 1}}, {1: rows({0: 1})}, [1]) is None
    assert plan_run(5, 1, True, {1: {8: 1}}, {1: rows({8: 1})}, [1]) is None
    assert plan_run(5, 1, False, {1: {}}, {1: rows({})}, [1]) is None
    assert plan_run(5, 1, False, {1: {5: 1, 6: 2}}, {1: rows({5: 1, 6: 2, 7: 3})}, [1]) is None


def test_the_run_starts_where_the_first_object_needs_it():
    keys = {1: {0: 1}, 2: {4: 2}}
    stored = {1: rows({0: 1} | dict.fromkeys(range(1, 11), 3)), 2: rows({4: 2})}
    plan = plan_run(10, 1, False, keys, stored, [1, 2])
    assert plan is not None
    assert plan.start == 4
    assert written(plan, 1) == list(range(11, 30))
    assert written(plan, 2) == list(range(5, 30))
