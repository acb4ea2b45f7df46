# SPDX-License-Identifier: Apache-2.0
"""J and F of hand-made answers: scored frames, absent objects, means."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.morphology import disk
from vos_layouts import grey_frames, labels_of, write_sequence

from sam2_ros.datasets.layouts import open_dataset
from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.eval.benchmark.scores import (
    ObjectScores,
    ScoredFrame,
    SequenceScorer,
    absent_percent,
    decay,
    disjoint,
    false_presence_percent,
    percent,
    presence_calibration,
)
from sam2_ros.eval.metrics import boundary_f

ONE = labels_of((1, 5, 5))
HALF = ONE == 1
HALF[10:] = False  # 50 of 100 px
NONE = np.zeros_like(HALF)


def sequence_of(tmp_path: Path, labels: dict[int, np.ndarray]) -> VosSequence:
    count = max(labels) + 1
    return open_dataset(write_sequence(tmp_path / "clip", grey_frames(count), labels))[0]


def scored(sequence: VosSequence, answers: dict[int, dict[str, np.ndarray]]) -> dict[str, ObjectScores]:
    scorer = SequenceScorer(sequence)
    for index in sequence.truth.indices:
        scorer.add(index, answers.get(index, {}), sequence.truth.at(index))
    return {one.name: one for one in scorer.objects()}


def object_of(*frames: ScoredFrame, name: str = "1") -> ObjectScores:
    return ObjectScores(name, frames)


def shown(j: float = 0.5, f: float = 0.5, presence: float | None = None) -> ScoredFrame:
    return ScoredFrame(0, j, f, True, False, presence)


def hidden(empty: bool = True, state: str | None = None, presence: float | None = None) -> ScoredFrame:
    return ScoredFrame(0, float(empty), float(empty), False, empty, presence, state)


def test_first_and_last_frames_do_not_count(tmp_path: Path) -> None:
    sequence = sequence_of(tmp_path, dict.fromkeys(range(5), ONE))
    answers = {0: {"1": NONE}, 1: {"1": ONE == 1}, 2: {"1": HALF}, 3: {"1": ONE == 1}, 4: {"1": NONE}}
    one = scored(sequence, answers)["1"]
    assert [frame.frame for frame in one.curve] == [1, 2, 3]
    assert [frame.j for frame in one.curve] == [1, 0.5, 1]
    assert one.j == pytest.approx((1 + 0.5 + 1) / 3)


def test_an_empty_mask_of_an_absent_object_is_correct(tmp_path: Path) -> None:
    labels = {0: ONE, 1: ONE * 0, 2: ONE * 0, 3: ONE, 4: ONE}
    answers = {1: {}, 2: {"1": HALF}, 3: {"1": ONE == 1}}
    one = scored(sequence_of(tmp_path, labels), answers)["1"]
    assert (one.j, one.f, len(one.curve)) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)


def test_absent_is_the_share_of_empty_masks_on_hidden_frames(tmp_path: Path) -> None:
    labels = {0: ONE, 1: ONE * 0, 2: ONE * 0, 3: ONE, 4: ONE}
    one = scored(sequence_of(tmp_path, labels), {1: {}, 2: {"1": HALF}, 3: {"1": ONE == 1}})["1"]
    assert [(frame.frame, frame.empty) for frame in one.hidden] == [(1, True), (2, False)]
    never, always = object_of(shown()), object_of(*[hidden()] * 6)
    assert absent_percent([one, never]) == 50.0
    assert absent_percent([one, never, always]) == 87.5  # of the frames, not of the objects
    assert absent_percent([never]) is None


def test_false_presence_is_the_share_of_tracking_on_hidden_frames() -> None:
    said = object_of(
        hidden(state="TRACKING"), *[hidden(state="OCCLUDED")] * 2, hidden(False, "LOST"), shown()
    )
    assert false_presence_percent([said]) == 25.0
    assert false_presence_percent([object_of(hidden())]) is None  # a tracker without states


def test_decay_is_the_first_quarter_less_the_last() -> None:
    assert decay([1.0] * 6 + [0.5] * 8 + [0.2] * 6) == pytest.approx(0.8)
    assert decay([0.4] * 9) == 0
    # 8 values: borders at 1, 2.75, 4.5, 6.25, 8, rounded 1, 3, 5, 6, 8, each shared by its neighbours
    assert decay([1, 2, 3, 0, 0, 4, 5, 6]) == pytest.approx(2 - 5)
    assert decay([1, 0, 0]) is None


def test_a_record_holds_what_the_scores_are_made_of(tmp_path: Path) -> None:
    labels = {0: ONE, 1: ONE * 0, 2: ONE * 0, 3: ONE, 4: ONE, 5: ONE, 6: ONE}
    answers = {1: {}, 2: {"1": HALF}, 3: {"1": ONE == 1}, 4: {"1": HALF}, 5: {}}
    one = scored(sequence_of(tmp_path, labels), answers)["1"]
    record = one.record()
    assert record["curve"]["frame"] == [1, 2, 3, 4, 5]
    assert record["curve"]["J"] == [100, 0, 100, 50, 0]
    assert record["curve"]["visible"] == [False, False, True, True, True]
    assert record["J"] == np.mean(record["curve"]["J"])
    assert record["J_decay"] == 25  # 1, 0 and 50, 0
    assert "state" not in record["curve"]
    again = ObjectScores.from_record("1", json.loads(json.dumps(record)))
    assert percent([again]) == percent([one])
    assert again.record() == record


def test_calibrated_presence_has_no_calibration_error() -> None:
    def frames(score: float, right: int, of: int) -> list[ScoredFrame]:
        logit = float(np.log(score / (1 - score)))
        return [shown(presence=logit)] * right + [hidden(presence=logit)] * (of - right)

    calibrated = presence_calibration([object_of(*frames(0.75, 75, 100), *frames(0.35, 35, 100))])
    assert calibrated is not None
    assert calibrated["ece"] == pytest.approx(0, abs=1e-4)
    assert (calibrated["frames"], calibrated["hidden"]) == (200, 90)
    assert [one["frames"] for one in calibrated["bins"]] == [0, 0, 0, 100, 0, 0, 0, 100, 0, 0]
    assert calibrated["bins"][3] == {"from": 0.3, "to": 0.4, "frames": 100, "presence": 0.35, "visible": 0.35}
    certain = presence_calibration([object_of(*[shown(presence=900.0)] * 3, hidden(presence=900.0))])
    assert certain is not None
    assert (certain["ece"], certain["bins"][9]["visible"]) == (0.25, 0.75)
    assert presence_calibration([object_of(shown(presence=1.0))]) is None


def test_an_object_that_comes_later_counts_after_its_first_frame(tmp_path: Path) -> None:
    two = labels_of((1, 5, 5), (2, 30, 20))
    sequence = sequence_of(tmp_path, {0: ONE, 5: two, 10: two, 15: two})
    truth = {"1": two == 1, "2": two == 2}
    objects = scored(sequence, {5: {"1": HALF}, 10: truth, 15: {}})
    assert (len(objects["1"].curve), objects["1"].j) == (2, pytest.approx(0.75))
    assert (len(objects["2"].curve), objects["2"].j, objects["2"].f) == (1, 1.0, 1.0)


def test_an_object_that_first_shows_at_the_end_is_not_scored(tmp_path: Path) -> None:
    two = labels_of((1, 5, 5), (2, 30, 20))
    assert list(scored(sequence_of(tmp_path, {0: ONE, 1: ONE, 2: two}), {})) == ["1"]


def test_void_pixels_count_neither_way(tmp_path: Path) -> None:
    void = ONE.copy()
    void[10:15, 5:15] = 255  # the lower half of the object is void
    sequence = sequence_of(tmp_path, {0: ONE, 1: void, 2: ONE})
    for answer in (HALF, ONE == 1):
        one = scored(sequence, {1: {"1": answer}})["1"]
        assert (one.j, one.f) == (1.0, 1.0)


def test_the_mean_gives_every_object_the_same_weight() -> None:
    objects = [object_of(*[shown(0.9, 0.7)] * 3), object_of(*[shown(0.3, 0.5)] * 97, name="2")]
    assert percent(objects) == {"J": 60.0, "F": 60.0, "JF": 60.0}
    assert percent(objects[:1]) == {"J": 90.0, "F": 70.0, "JF": 80.0}
    assert percent([]) == {"J": None, "F": None, "JF": None}


def test_a_shared_pixel_goes_to_the_smaller_mask() -> None:
    small, large = HALF, labels_of((1, 5, 5), (1, 15, 5)) == 1
    parted = disjoint({"large": large, "small": small})
    np.testing.assert_array_equal(parted["small"], small)
    np.testing.assert_array_equal(parted["large"], large & ~small)
    assert list(parted) == ["large", "small"]


def square(x: int, y: int = 40) -> np.ndarray:
    mask = np.zeros((480, 854), bool)  # the bound is ceil(0.008 * 979.6) = 8 px
    mask[y : y + 100, x : x + 100] = True
    return mask


def test_f_forgives_a_shift_of_the_bound_and_no_more() -> None:
    assert boundary_f(square(100), square(100)) == 1.0
    assert boundary_f(square(108), square(100)) == 1.0
    # 9 px: the vertical edges are out of reach, the ends of the horizontal ones too
    assert 0.4 < boundary_f(square(109), square(100)) < 0.6
    assert boundary_f(square(300), square(100)) == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_f_is_that_of_a_dilation_by_a_disk(seed: int) -> None:
    """The benchmark's definition, implemented independently: outline, dilation by a disk, precision and recall."""
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(20, 200)), int(rng.integers(20, 300)))
    noise = rng.standard_normal((2, *size)).astype(np.float32)
    predicted, truth = (cv2.GaussianBlur(one, (0, 0), 5) > 0.02 for one in noise)
    outlines = []
    for mask in (predicted, truth):
        edge = np.zeros(size, bool)
        edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
        edge[:-1] |= mask[:-1] != mask[1:]
        edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
        outlines.append(edge)
    radius = int(np.ceil(0.008 * np.linalg.norm(size)))
    near = [cv2.dilate(edge.astype(np.uint8), disk(radius).astype(np.uint8)) > 0 for edge in outlines]
    precision = (outlines[0] & near[1]).sum() / outlines[0].sum()
    recall = (outlines[1] & near[0]).sum() / outlines[1].sum()
    expected = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert boundary_f(predicted, truth) == pytest.approx(expected, abs=1e-9)
