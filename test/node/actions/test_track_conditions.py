# SPDX-License-Identifier: Apache-2.0
"""The conditions of ~/track_until, image by image."""

import math
from types import SimpleNamespace

import pytest

from sam2_ros.engine import PromptError
from sam2_ros.node.actions.conditions import Condition, Until

PENDING, TRACKING, OCCLUDED, LOST = range(4)


def status(state=TRACKING, x=None, age=0.0):
    position = SimpleNamespace(x=x if x is not None else 0.0, y=0.0, z=1.0)
    return SimpleNamespace(
        state=state, age=age, has_position=x is not None, pose=SimpleNamespace(position=position)
    )


def goal(until, timeout_s=0.0, stable_for_s=0.0):
    def duration(seconds):
        return SimpleNamespace(sec=math.floor(seconds), nanosec=round(seconds % 1 * 1e9))

    return SimpleNamespace(until=until, timeout=duration(timeout_s), stable_for=duration(stable_for_s))


def still(positions, stable_for_s=0.3, within_m=0.01, step_s=0.1):
    """Index of the image with which the goal is met; None = never. A position None: not located, "hidden": not seen."""
    condition = Condition.of_goal(goal(Until.STABLE, stable_for_s=stable_for_s), use_3d=True)
    for index, x in enumerate(positions):
        seen = status(OCCLUDED) if x == "hidden" else status(x=x)
        if condition.met(seen, 5.0 + index * step_s, within_m):
            return index
    return None


def test_visible_and_lost_are_states():
    visible = Condition.of_goal(goal(Until.VISIBLE), False)
    assert [bool(visible.met(status(state), 0.0, 0.0)) for state in range(4)] == [False, True, False, False]
    lost = Condition.of_goal(goal(Until.LOST), False)
    assert [bool(lost.met(status(state), 0.0, 0.0)) for state in range(4)] == [False, False, False, True]
    assert lost.met(status(LOST, age=1.25), 0.0, 0.0) == "lost: not visible for 1.2 s"


def test_an_object_is_stable_when_it_stays_for_the_time_within_the_distance_of_the_median():
    assert still([0.5, 0.5, 0.5, 0.5]) == 3
    assert still([0.5, 0.505, 0.495, 0.509]) == 3  # noise
    assert still([0.1, 0.2, 0.3, 0.3, 0.3, 0.3]) == 5
    assert still([0.01 * index for index in range(0, 40, 2)]) is None  # moves on
    assert still([0.004 * index for index in range(20)], within_m=0.01) is None  # slowly, too
    assert still([0.5] * 3) is None


@pytest.mark.parametrize("outlier", [0.9, 0.1])
def test_single_outliers_of_depth_neither_break_a_still_time_nor_fake_one(outlier):
    rest = [0.5] * 7
    for index in range(1, 6):  # within the window
        assert still([*rest[:index], outlier, *rest[index:-1]], stable_for_s=0.6) == 6
    assert (
        still([*rest[:-1], outlier, *rest], stable_for_s=0.6) == 7
    )  # one image late: it may have begun to move
    assert still([outlier, *rest], stable_for_s=0.6) == 7  # as if it had not been seen before
    assert still([0.5, outlier, 0.5, outlier, 0.5, 0.5, 0.5], stable_for_s=0.6) == 6
    assert (
        still([0.5, outlier, outlier, 0.5, 0.5, 0.5, 0.5], stable_for_s=0.6) is None
    )  # moved, and came back
    moving = [0.03 * index for index in range(12)]
    for index in range(1, 11):
        assert still([*moving[:index], moving[index - 1], *moving[index + 1 :]], stable_for_s=0.2) is None


def test_a_long_still_time_at_a_high_rate_is_measured_with_few_positions():
    condition = Condition.of_goal(goal(Until.STABLE, stable_for_s=600.0), True)
    met = [condition.met(status(x=0.5), index * 0.05, 0.01) for index in range(12001)]
    assert not any(met[:-1])
    assert met[-1] == "still for 600.00 s within 0.01 m"
    assert len(condition._window._stamps_s) < 600


@pytest.mark.parametrize("gap", [None, "hidden", math.nan])
def test_an_image_without_a_position_begins_the_still_time_anew(gap):
    assert still([0.5, 0.5, gap, 0.5, 0.5, 0.5, 0.5]) == 6


def test_a_jump_back_in_time_begins_the_still_time_anew():
    condition = Condition.of_goal(goal(Until.STABLE, stable_for_s=0.3), True)
    for stamp_s in (9.0, 9.2, 1.0, 1.1, 1.2):
        assert not condition.met(status(x=0.5), stamp_s, 0.01)
    assert condition.met(status(x=0.5), 1.31, 0.01).startswith("still for 0.31 s within 0.01 m")


@pytest.mark.parametrize(
    ("given", "use_3d", "message"),
    [
        (goal(7), True, "until = 7: expected one of VISIBLE=0, LOST=1, STABLE=2, DURATION=3"),
        (goal(Until.LOST, timeout_s=-1.0), True, "timeout = -1 s: expected a positive time"),
        (goal(Until.DURATION), True, "expected the time to track for"),
        (goal(Until.STABLE, 5.0), True, "stable_for = 0 s"),
        (goal(Until.STABLE, 5.0, 1.0), False, "set its parameter use_3d"),
    ],
)
def test_a_goal_that_can_never_be_met_is_refused_with_what_to_do(given, use_3d, message):
    with pytest.raises(PromptError, match=message):
        Condition.of_goal(given, use_3d)


def test_the_end_of_the_time_says_what_was_seen_last():
    condition = Condition.of_goal(goal(Until.VISIBLE, 2.5), False)
    assert condition.timed_out("cup", None) == "'cup' was not VISIBLE within 2.5 s; no image has shown it yet"
    assert condition.timed_out("cup", status(OCCLUDED)).endswith("its state is OCCLUDED")
    stable = Condition.of_goal(goal(Until.STABLE, 2.5, 1.0), True)
    assert stable.timed_out("cup", status(x=0.5)).endswith("its state is TRACKING")
    assert stable.timed_out("cup", status()).endswith(
        "is TRACKING, without a position: depth on /diagnostics says why"
    )
    assert Condition.of_goal(goal(Until.DURATION, 2.5), False).timed_out("cup", None) == "tracked for 2.5 s"
