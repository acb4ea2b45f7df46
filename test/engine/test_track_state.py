# SPDX-License-Identifier: Apache-2.0
"""States of an object with hysteresis, from scores alone."""

from __future__ import annotations

from sam2_ros.engine.result import ObjectState
from sam2_ros.engine.track_state import Track
from sam2_ros.engine.tracker_config import TrackerConfig

CONFIG = TrackerConfig(
    present_on=1.0, present_off=0.0, hysteresis_frames=2, lost_after_s=1.0, forget_after_s=5.0
)


def states(presences, period_s=0.1, track=None):
    track = track or Track("a", 1, 0)
    seen = []
    for index, presence in enumerate(presences):
        track.update(presence, presence > 0, prompted=index == 0, stamp_s=index * period_s, config=CONFIG)
        seen.append(track.state.name)
    return seen


def test_a_prompted_object_that_is_visible_is_tracking_at_once():
    assert states([5.0]) == ["TRACKING"]
    assert states([-5.0]) == ["PENDING"]


def test_one_bad_frame_does_not_hide_an_object_and_two_do():
    assert states([5, -5, 5, -5, -5, -5]) == ["TRACKING"] * 4 + ["OCCLUDED"] * 2


def test_a_hidden_object_is_seen_again_after_two_confident_frames():
    assert states([5, -5, -5, 5, 0.5, 5, 5])[2:] == ["OCCLUDED"] * 4 + ["TRACKING"]


def test_scores_between_the_thresholds_change_nothing():
    assert states([5, 0.5, 0.5, 0.5]) == ["TRACKING"] * 4
    assert states([5, -5, -5, 0.5, 0.5, 0.5])[2:] == ["OCCLUDED"] * 4


def test_an_object_is_lost_after_its_time_and_found_again():
    seen = states([5] + [-5] * 12 + [5, 5])
    assert seen[10] == "OCCLUDED"
    assert seen[12] == "LOST"
    assert seen[-1] == "TRACKING"


def test_an_object_expires_after_forget_after_s():
    track = Track("a", 1, 0)
    track.update(5, True, True, 0.0, CONFIG)
    assert not track.is_expired(track.update(-5, False, False, 4.9, CONFIG), CONFIG)
    assert track.is_expired(track.update(-5, False, False, 5.1, CONFIG), CONFIG)
    assert track.state == ObjectState.LOST


def test_a_clock_that_jumps_back_does_not_age_an_object():
    track = Track("a", 1, 0)
    track.update(5, True, True, 100.0, CONFIG)
    assert track.update(-5, False, False, 3.0, CONFIG) == 0.0
