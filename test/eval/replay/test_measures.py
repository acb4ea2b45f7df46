# SPDX-License-Identifier: Apache-2.0
"""The measures of a track on short series made by hand."""

from __future__ import annotations

import math

import pytest

from sam2_ros.eval.calibration import calibration
from sam2_ros.eval.metrics import mean
from sam2_ros.eval.replay.measures import (
    identity_switches,
    longest_gap_s,
    matched_object,
    share,
    stability,
    stretches,
    times_to_lost,
    times_to_recover,
)

NAN = math.nan
SECONDS = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
#          seen      hidden               seen again
VISIBLE = [True, True, False, False, False, True, True, True]


def test_stretches_are_half_open_and_may_touch_the_ends() -> None:
    assert stretches(VISIBLE, False) == [(2, 5)]
    assert stretches(VISIBLE, True) == [(0, 2), (5, 8)]
    assert stretches([], True) == []


def test_time_to_lost_runs_from_the_first_hidden_image_to_the_first_answer_not_tracking() -> None:
    tracking = [True, True, True, True, False, True, True, True]
    assert times_to_lost(SECONDS, VISIBLE, SECONDS, tracking) == [1.0]
    assert times_to_lost(SECONDS, VISIBLE, SECONDS, [not seen for seen in VISIBLE]) == [None]
    assert times_to_lost(SECONDS, VISIBLE, SECONDS, VISIBLE) == [0.0]


def test_time_to_lost_of_dropped_images_is_that_of_the_next_processed_one() -> None:
    answered_s, tracking = [0.0, 1.5, 2.5], [True, False, True]
    assert times_to_lost(SECONDS, VISIBLE, answered_s, tracking) == [0.5]
    assert times_to_lost(SECONDS, VISIBLE, [0.0, 2.5], [True, False]) == [None]  # lost only after it was back


def test_an_object_that_hides_twice_and_stays_away_has_two_times_to_lost() -> None:
    visible = [False, True, True, False, False, True, False, False]
    tracking = [True, True, True, True, False, True, True, True]
    assert times_to_lost(SECONDS, visible, SECONDS, tracking) == [None, 0.5, None]


def test_time_to_recover_runs_from_the_first_image_that_shows_it_again() -> None:
    found = [True, True, False, False, False, False, False, True]
    assert times_to_recover(SECONDS, VISIBLE, SECONDS, found) == [1.0]
    assert times_to_recover(SECONDS, VISIBLE, SECONDS, [True] * 5 + [False] * 3) == [None]
    assert times_to_recover(SECONDS, VISIBLE, [0.0, 3.0], [True, True]) == [0.5]
    assert times_to_recover(SECONDS, [True] * 8, SECONDS, [True] * 8) == []  # it was never hidden
    assert times_to_recover(SECONDS[:3], [False, False, True], SECONDS[:3], [False, False, True]) == [0.0]


def test_a_share_counts_only_the_chosen_entries() -> None:
    assert share([True, True, False, True], among=[True, True, True, False]) == pytest.approx(2 / 3)
    assert share([True, True], among=[False, False]) is None


def test_an_answer_matches_the_truth_it_overlaps_most_and_a_touch_matches_none() -> None:
    assert matched_object("a", {"a": 0.3, "b": 0.4}) == "b"
    assert matched_object("a", {"b": 0.4, "a": 0.4}) == "a"
    assert matched_object("a", {"a": 0.02, "b": 0.05}) is None
    assert matched_object("a", {}) is None


def test_a_switch_is_a_change_to_another_object_and_a_return_is_not_counted() -> None:
    assert identity_switches("a", ["a", "a", "b", "b", "a", "b"]) == 2
    assert identity_switches("a", ["b", "c", "b"]) == 3
    assert identity_switches("a", ["b", None, None, "b"]) == 1
    assert identity_switches("a", [None, "a", None]) == 0


def test_stability_compares_successive_answers_with_successive_truths() -> None:
    flickering = stability([NAN, 0.4, 0.6, 0.9], [NAN, 0.8, 1.0, NAN])
    assert (flickering.answers, flickering.truth, flickering.pairs) == (0.5, 0.9, 2)
    assert flickering.difference == pytest.approx(-0.4)
    nothing = stability([NAN, NAN], [NAN, 0.5])
    assert (nothing.answers, nothing.difference, nothing.pairs) == (None, None, 0)


def test_calibrated_presence_has_no_calibration_error() -> None:
    # sigmoid(0) = 0.5, half of them visible
    even = calibration([0.0] * 4, [True, False, True, False], "count")
    assert even["bins"][5]["count"] == 4
    assert even["ece"] == 0.0
    sure_and_right = calibration([1000.0, -1000.0], [True, False], "count")
    assert [one["count"] for one in sure_and_right["bins"]] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert sure_and_right["ece"] == 0.0


def test_calibration_error_weighs_the_bins_by_their_counts() -> None:
    # Three answers with 0.5, none visible; one with 1.0, visible.
    found = calibration([0.0, 0.0, 0.0, 50.0, NAN], [False, False, False, True, True], "count")
    assert sum(one["count"] for one in found["bins"]) == found["count"] == 4
    assert found["ece"] == 3 / 4 * 0.5
    assert found["bins"][5]["presence"] == 0.5
    assert found["bins"][5]["visible"] == 0.0
    assert found["bins"][2]["visible"] is None
    assert calibration([NAN], [True], "count")["ece"] is None


def test_the_longest_gap_includes_the_ends_of_the_bag() -> None:
    assert longest_gap_s([0.0, 1.0, 2.0, 3.0], [True, True, False, True]) == 2.0
    assert longest_gap_s([0.0, 1.0, 2.0, 3.0], [True, False, False, False]) == 3.0
    assert longest_gap_s([0.0, 1.0, 2.0, 3.0], [False] * 4) == 3.0


def test_a_mean_ignores_missing_values() -> None:
    assert mean([1.0, None, NAN, 2.0]) == 1.5
    assert mean([None, NAN]) is None
