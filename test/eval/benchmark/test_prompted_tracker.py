# SPDX-License-Identifier: Apache-2.0
"""Simulated prompts reach the tracker on the right frames: a first appearance of an object, a wrong answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2_ros.datasets.layouts import open_dataset
from sam2_ros.datasets.sequence import FrameTruth, VosSequence
from sam2_ros.engine import Sam2Model, Tracker, TrackerConfig
from sam2_ros.eval.benchmark.prompted_tracker import (
    MAX_PROMPTED_FRAMES,
    PAUSE_BELOW_IOU,
    AnsweredFrame,
    PromptedTracker,
)
from sam2_ros.eval.benchmark.prompting import Clicks
from sam2_ros.eval.metrics import mask_iou


@pytest.fixture(scope="module")
def clip(rendered: Path) -> VosSequence:
    return open_dataset(rendered)[0]


def follow(nano: Sam2Model, clip: VosSequence, kind: str) -> list[AnsweredFrame]:
    tracker = PromptedTracker(nano, clip, kind)
    answers = []
    for index in range(len(clip)):
        new = [name for name, first in clip.first_frames.items() if first == index]
        answers.append(tracker.step(index, clip.image(index), new, clip.truth.at(index)))
    return answers


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_every_object_is_prompted_when_it_first_shows(nano: Sam2Model, clip: VosSequence, kind: str) -> None:
    answers = follow(nano, clip, kind)
    assert [list(answer.masks()) for answer in answers] == [["3"], ["3"], *[["3", "7"]] * 4]
    assert [answer.clicked for answer in answers] == [("3",), (), ("7",), (), (), ()]
    assert mask_iou(answers[0].masks()["3"], clip.truth.at(0).mask("3")) > (0.85 if kind == "mask" else 0.6)
    assert all(answer.step_ms > 0 for answer in answers)


def answer_to(nano: Sam2Model, clip: VosSequence, clicks: dict[int, Clicks], index: int) -> np.ndarray:
    """The mask of object 3 on a frame, from a tracker that gets all clicks of a frame at once."""
    tracker = Tracker(nano, TrackerConfig(max_objects=2, non_overlap=True, forget_after_s=0))
    for frame in range(index + 1):
        prompts = [clicks[frame].prompt("3")] if frame in clicks else []
        result = tracker.step(clip.image(frame), prompts, stamp_s=frame / clip.fps)
    return result.objects[0].mask


def three_clicks(
    nano: Sam2Model,
    clip: VosSequence,
    clicks: dict[int, Clicks],
    index: int,
    answer_hw: np.ndarray,
    truth_hw: np.ndarray,
) -> None:
    """Adds three clicks on a frame, each on the remaining error."""
    clicks[index] = Clicks()
    for _ in range(3):
        assert clicks[index].add_on_error(answer_hw, truth_hw)
        answer_hw = answer_to(nano, clip, clicks, index)


def test_intermediate_answers_between_clicks_do_not_change_the_result(
    nano: Sam2Model, clip: VosSequence
) -> None:
    answers = follow(nano, clip, "click3")
    clicks: dict[int, Clicks] = {}
    three_clicks(nano, clip, clicks, 0, np.zeros((120, 160), bool), clip.truth.at(0).mask("3"))
    assert clicks[0].labels[0] == 1
    for index in (0, 1):
        np.testing.assert_array_equal(answers[index].masks()["3"], answer_to(nano, clip, clicks, index))


def test_online_corrects_an_object_with_a_poor_mask(nano: Sam2Model, clip: VosSequence) -> None:
    hw = (120, 160)
    clicks: dict[int, Clicks] = {}
    three_clicks(nano, clip, clicks, 0, np.zeros(hw, bool), clip.truth.at(0).mask("3"))
    tracker = PromptedTracker(nano, clip, "online")
    tracker.step(0, clip.image(0), ["3"], clip.truth.at(0))
    plain = [answer_to(nano, clip, clicks, index) for index in range(3)]
    covered = tracker.step(1, clip.image(1), [], FrameTruth({"3": plain[1]}, hw))
    assert covered.clicked == ()
    np.testing.assert_array_equal(covered.masks()["3"], plain[1])
    part = plain[2].copy()  # as if the object ended in its middle
    part[:, : int(np.flatnonzero(part.any(axis=0)).mean())] = False
    assert mask_iou(plain[2], part) < PAUSE_BELOW_IOU
    paused = tracker.step(2, clip.image(2), [], FrameTruth({"3": part}, hw))
    assert paused.clicked == ("3",)
    three_clicks(nano, clip, clicks, 2, plain[2], part)
    assert clicks[2].labels[0] == 0
    np.testing.assert_array_equal(paused.masks()["3"], answer_to(nano, clip, clicks, 2))
    hidden = tracker.step(3, clip.image(3), [], FrameTruth({}, hw))
    assert hidden.clicked == ()  # hidden objects are not clicked
    assert tracker.prompted_frames == {"3": 2}


def test_online_stops_after_the_most_prompted_frames(nano: Sam2Model, clip: VosSequence) -> None:
    tracker = PromptedTracker(nano, clip, "online")
    tracker.step(0, clip.image(0), ["3"], clip.truth.at(0))
    # A truth that no answer can match: one pixel in the corner.
    corner = np.zeros((120, 160), bool)
    corner[0, 0] = True
    clicked = [
        tracker.step(i, clip.image(1), [], FrameTruth({"3": corner}, corner.shape)).clicked
        for i in range(1, 11)
    ]
    assert [len(names) for names in clicked] == [1] * (MAX_PROMPTED_FRAMES - 1) + [0] * 3


def test_an_unknown_kind_is_refused(nano: Sam2Model, clip: VosSequence) -> None:
    with pytest.raises(ValueError, match="prompt 'scribble' given, one of mask, box, click1"):
        PromptedTracker(nano, clip, "scribble")
