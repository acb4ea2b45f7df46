# SPDX-License-Identifier: Apache-2.0
"""Scores of hand-made answers to six images, some dropped, with one of two objects hidden for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from sam2_ros.datasets.sequence import FrameTruth
from sam2_ros.engine import FrameResult, ObjectState, TrackedObject
from sam2_ros.eval.replay.score import ObjectTrack, score_run
from sam2_ros.eval.replay.summary import summarize
from sam2_ros.eval.replay.truth import ReplayTruth
from sam2_ros.media.frame_source import SourceError

HW = (40, 60)
STAMPS_S = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def square(x: int, height: int = 20) -> np.ndarray:
    """20 pixels wide, from column x on."""
    mask = np.zeros(HW, bool)
    mask[10 : 10 + height, x : x + 20] = True
    return mask


NOTHING = np.zeros(HW, bool)
LEFT, RIGHT = square(0), square(30)


@dataclass(frozen=True)
class GivenTruth:
    """Index of an image -> value -> mask."""

    images: Mapping[int, Mapping[str, np.ndarray]]
    void_hw: np.ndarray | None = None

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(self.images)

    def at(self, index: int) -> FrameTruth:
        return FrameTruth(
            {name: mask for name, mask in self.images[index].items() if mask.any()}, HW, self.void_hw
        )


def known(images: Mapping[int, Mapping[str, np.ndarray]], void_hw: np.ndarray | None = None) -> ReplayTruth:
    return ReplayTruth(GivenTruth(images, void_hw), {"a": "1", "b": "2"}, "hand")


def answer(
    object_id: str, mask: np.ndarray, state: ObjectState = ObjectState.TRACKING, presence: float = 5.0
) -> TrackedObject:
    return TrackedObject(
        object_id,
        1,
        "",
        mask,
        np.zeros((0, 0), np.float32),
        0.9,
        presence,
        state,
        0.0,
        (0, 0, 0, 0),
        0,
        (0.0, 0.0),
    )


def result(image: int, *objects: TrackedObject) -> FrameResult:
    return FrameResult(image, image / 10, *HW, list(objects))


def one_hiding() -> ReplayTruth:
    """a is always on the left; b on the right, hidden in images 2 and 3."""
    return known({index: {"1": LEFT, "2": NOTHING if index in (2, 3) else RIGHT} for index in range(6)})


def perfect(image: int) -> FrameResult:
    if image in (2, 3):
        return result(image, answer("a", LEFT), answer("b", NOTHING, ObjectState.OCCLUDED, -5.0))
    return result(image, answer("a", LEFT), answer("b", RIGHT))


def by_id(tracks: list[ObjectTrack]) -> dict[str, ObjectTrack]:
    return {track.id: track for track in tracks}


def test_perfect_answers_are_perfect_in_both_views() -> None:
    tracks = score_run(STAMPS_S, map(perfect, range(6)), {"a": 0, "b": 0}, one_hiding())
    numbers = summarize(tracks, {0: 12.0})
    for view in (numbers, numbers["processed_only"]):
        assert (view["J"], view["F"], view["JF"]) == (100.0, 100.0, 100.0)
        assert (view["missed"], view["false_presence"], view["identity_switches"]) == (0.0, 0.0, 0)
        assert (view["frames"], view["frames_visible"], view["frames_hidden"]) == (10, 8, 2)
        assert view["time_to_lost_s"] == {"count": 1, "never": 0, "mean": 0.0, "max": 0.0}
        assert view["time_to_recover_s"] == {"count": 1, "never": 0, "mean": 0.0, "max": 0.0}
        assert view["stability"]["difference"] == 0.0
    assert numbers["calibration"]["ece"] == pytest.approx(
        0.0067, abs=1e-4
    )  # sigmoid(5), and of -5, are not 1 and 0
    entry = numbers["objects"]["b"]
    assert (entry["time_to_first_mask_s"], entry["first_mask_latency_ms"]) == (0.0, 12.0)
    assert entry["curve"]["state"] == ["TRACKING"] * 2 + ["OCCLUDED"] * 2 + ["TRACKING"] * 2
    assert entry["curve"]["visible"] == [None, True, False, False, True, True]
    assert entry["curve"]["J"] == [None, 100.0, 100.0, 100.0, 100.0, 100.0]


def test_a_robot_holds_the_answer_before_a_dropped_image_and_the_processed_view_leaves_it_out() -> None:
    # Images 2 and 4 are dropped: the robot still has b visible while it is hidden, and hidden when it is back.
    tracks = score_run(STAMPS_S, map(perfect, (0, 1, 3, 5)), {"a": 0, "b": 0}, one_hiding())
    numbers = summarize(tracks, {})["objects"]["b"]
    assert (numbers["J"], numbers["processed_only"]["J"]) == (60.0, 100.0)  # images 1, 3 and 5 of 1..5
    assert (numbers["frames"], numbers["processed_only"]["frames"]) == (5, 3)
    assert (numbers["false_presence"], numbers["processed_only"]["false_presence"]) == (0.5, 0.0)
    assert (numbers["missed"], numbers["processed_only"]["missed"]) == (pytest.approx(1 / 3, abs=1e-4), 0.0)
    # In both views, the first answer with the new state comes 0.1 s after each change.
    assert numbers["time_to_lost_s"] == numbers["processed_only"]["time_to_lost_s"] == [0.1]
    assert numbers["time_to_recover_s"] == numbers["processed_only"]["time_to_recover_s"] == [0.1]
    assert numbers["curve"]["processed"] == [True, True, False, True, False, True]
    assert numbers["calibration"]["count"] == 3  # repeated answers are not counted
    assert numbers["curve"]["presence"] == [5.0, 5.0, 5.0, -5.0, -5.0, 5.0]


def test_what_comes_before_the_prompt_and_without_truth_is_not_scored() -> None:
    truth = known({index: {"1": LEFT, "2": RIGHT} for index in (0, 3, 4)})
    tracks = by_id(score_run(STAMPS_S, map(perfect, range(6)), {"a": 0, "b": 3}, truth))
    assert [one.scored for one in tracks["a"].answers] == [False, False, False, True, True, False]
    assert [one.scored for one in tracks["b"].answers] == [False, False, False, False, True, False]
    # The answer to image 3 has b hidden, but it is the prompted image.
    assert summarize([tracks["b"]], {})["missed"] == 0.0


def test_an_answer_on_the_other_object_is_a_switch_and_wrong_while_it_lasts() -> None:
    truth = known({index: {"1": LEFT, "2": RIGHT} for index in range(6)})
    places = [LEFT, LEFT, RIGHT, RIGHT, LEFT, RIGHT]
    tracks = score_run(
        STAMPS_S,
        [result(index, answer("a", mask), answer("b", RIGHT)) for index, mask in enumerate(places)],
        {"a": 0, "b": 0},
        truth,
    )
    numbers = summarize(tracks, {})
    assert (numbers["objects"]["a"]["identity_switches"], numbers["objects"]["b"]["identity_switches"]) == (
        2,
        0,
    )
    assert numbers["objects"]["a"]["identity_wrong"] == 0.6
    assert (numbers["identity_switches"], numbers["identity_wrong"]) == (2, 0.3)
    assert numbers["objects"]["a"]["J"] == 40.0
    assert numbers["J"] == 70.0


def test_an_answer_may_switch_to_an_object_without_a_prompt() -> None:
    truth = known({index: {"1": LEFT, "7": RIGHT} for index in range(3)})
    tracks = score_run(
        STAMPS_S[:3], [result(index, answer("a", RIGHT)) for index in range(3)], {"a": 0}, truth
    )
    assert [one.matched for one in tracks[0].answers] == [None, "value 7", "value 7"]


def test_an_outline_that_flickers_is_less_steady_than_the_truth() -> None:
    truth = known({index: {"1": LEFT} for index in range(6)})
    halves = [LEFT if index % 2 else square(0, height=10) for index in range(6)]
    tracks = score_run(
        STAMPS_S, [result(i, answer("a", mask)) for i, mask in enumerate(halves)], {"a": 0}, truth
    )
    found = summarize(tracks, {})["stability"]
    assert found == {"answers": 0.5, "truth": 1.0, "difference": -0.5, "pairs": 4}


def test_a_held_answer_is_steady_and_the_pair_across_a_dropped_image_is_of_processed_ones() -> None:
    places = [square(0), square(0), square(4), square(8)]  # IoU 16/24 from image to image, 12/28 over two
    truth = known({index: {"1": mask} for index, mask in enumerate(places)})
    results = [result(index, answer("a", places[index])) for index in (0, 1, 3)]
    numbers = summarize(score_run(STAMPS_S[:4], results, {"a": 0}, truth), {})
    assert numbers["stability"]["answers"] == pytest.approx((1 + 12 / 28) / 2, abs=1e-4)
    assert numbers["stability"]["truth"] == pytest.approx(16 / 24, abs=1e-4)
    assert numbers["stability"]["pairs"] == 2
    only = numbers["processed_only"]["stability"]
    assert (only["answers"], only["truth"], only["pairs"]) == (
        pytest.approx(12 / 28, abs=1e-4),
        only["answers"],
        1,
    )


def test_two_empty_answers_are_no_proof_of_a_steady_outline() -> None:
    truth = known({index: {"1": LEFT} for index in range(4)})
    masks = [LEFT, NOTHING, NOTHING, LEFT]
    tracks = score_run(
        STAMPS_S[:4], [result(i, answer("a", mask)) for i, mask in enumerate(masks)], {"a": 0}, truth
    )
    found = summarize(tracks, {})["stability"]
    assert (found["answers"], found["pairs"]) == (0.0, 1)


def test_the_first_mask_is_that_of_an_answer_to_the_prompted_image_or_a_later_one() -> None:
    results = [
        result(index, answer("a", LEFT)) for index in (0, 1, 3)
    ]  # of an earlier object with the same id
    (track,) = score_run(STAMPS_S[:4], results, {"a": 2}, None)
    entry = summarize([track], {3: 40.0})["objects"]["a"]
    assert (entry["time_to_first_mask_s"], entry["first_mask_latency_ms"]) == (0.1, 40.0)


def test_an_object_that_is_in_no_answer_is_missed_and_has_no_presence() -> None:
    truth = known({index: {"1": LEFT} for index in range(3)})
    numbers = summarize(score_run(STAMPS_S[:3], map(result, range(3)), {"a": 0}, truth), {})
    assert (numbers["J"], numbers["missed"], numbers["calibration"]["count"]) == (0.0, 1.0, 0)
    assert numbers["time_to_first_mask_s"] == {"count": 1, "never": 1, "mean": None, "max": None}
    assert numbers["objects"]["a"]["curve"]["state"] == [None] * 3


def test_without_truth_states_and_times_are_left() -> None:
    numbers = summarize(score_run(STAMPS_S, map(perfect, range(6)), {"a": 0, "b": 0}, None), {})
    assert (numbers["J"], numbers["missed"], numbers["identity_switches"]) == (None, None, None)
    assert numbers["frames"] == 0
    assert numbers["time_to_first_mask_s"]["max"] == 0.0


def test_void_pixels_count_neither_way() -> None:
    truth = known(
        {index: {"1": square(0, height=10)} for index in range(2)}, void_hw=LEFT & ~square(0, height=10)
    )
    tracks = score_run(
        STAMPS_S[:2], [result(index, answer("a", LEFT)) for index in range(2)], {"a": 0}, truth
    )
    assert summarize(tracks, {})["JF"] == 100.0


def test_an_answer_that_comes_twice_or_late_is_left_out() -> None:
    results = [perfect(0), perfect(3), perfect(3), perfect(1), perfect(5)]
    tracks = score_run(STAMPS_S, results, {"a": 0, "b": 0}, one_hiding())
    assert tracks[0].processed == [True, False, False, True, False, True]


def test_truth_of_another_size_than_the_answer_is_refused() -> None:
    small = FrameResult(1, 0.1, 20, 30, [])
    with pytest.raises(SourceError, match="truth of image 1 is 60 x 40 px, the answer to it 30 x 20"):
        score_run(STAMPS_S, [perfect(0), small], {"a": 0, "b": 0}, one_hiding())
