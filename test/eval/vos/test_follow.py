"""Prompts reach the tracker as an evaluation means them: when an object first shows, and where an answer is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2_ros.engine import Sam2Model, Tracker, TrackerConfig
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.eval.vos.follow import MAX_PROMPTED_FRAMES, Followed, Follower
from sam2_ros.eval.vos.prompting import Clicks
from sam2_ros.media.datasets.layouts import open_dataset
from sam2_ros.media.datasets.sequence import FrameTruth, VosSequence


@pytest.fixture(scope="module")
def clip(rendered: Path) -> VosSequence:
    return open_dataset(rendered)[0]


def follow(nano: Sam2Model, clip: VosSequence, kind: str) -> list[Followed]:
    follower = Follower(nano, clip, kind)
    answers = []
    for index in range(len(clip.frame_files)):
        new = [name for name, first in clip.first_frames.items() if first == index]
        answers.append(follower.step(index, clip.image(index), new, clip.truth.at(index)))
    return answers


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_every_object_is_prompted_when_it_first_shows(nano: Sam2Model, clip: VosSequence, kind: str) -> None:
    answers = follow(nano, clip, kind)
    assert [list(answer.masks()) for answer in answers] == [["3"], ["3"], *[["3", "7"]] * 4]
    assert [answer.clicked for answer in answers] == [("3",), (), ("7",), (), (), ()]
    assert mask_iou(answers[0].masks()["3"], clip.truth.at(0).mask("3")) > (0.85 if kind == "mask" else 0.6)
    assert all(answer.step_ms > 0 for answer in answers)


def test_tries_between_clicks_leave_no_trace(nano: Sam2Model, clip: VosSequence) -> None:
    """Three clicks, each on the error left by those before it, are as if they had been made at once."""
    answers = follow(nano, clip, "click3")
    truth, clicks, answer_hw = clip.truth.at(0).mask("3"), Clicks(), np.zeros((120, 160), bool)
    config = TrackerConfig(max_objects=2, non_overlap=True, forget_after_s=0)
    for _ in range(3):
        assert clicks.add_on_error(answer_hw, truth)
        tracker = Tracker(nano, config)
        answer_hw = tracker.step(clip.image(0), [clicks.prompt("3")]).objects[0].mask
    assert clicks.labels[0] == 1
    np.testing.assert_array_equal(answers[0].masks()["3"], answer_hw)
    np.testing.assert_array_equal(answers[1].masks()["3"], tracker.step(clip.image(1)).objects[0].mask)


def test_online_pauses_where_an_object_is_covered_badly(nano: Sam2Model, clip: VosSequence) -> None:
    plain = [answer.masks()["3"] for answer in follow(nano, clip, "click3")]
    follower = Follower(nano, clip, "online")
    follower.step(0, clip.image(0), ["3"], clip.truth.at(0))
    covered = follower.step(1, clip.image(1), [], FrameTruth({"3": plain[1]}, (120, 160)))
    assert covered.clicked == ()
    np.testing.assert_array_equal(covered.masks()["3"], plain[1])
    elsewhere = plain[2][::-1, ::-1]
    assert mask_iou(plain[2], elsewhere) < 0.5
    paused = follower.step(2, clip.image(2), [], FrameTruth({"3": elsewhere}, (120, 160)))
    assert paused.clicked == ("3",)
    assert mask_iou(paused.masks()["3"], elsewhere) > mask_iou(plain[2], elsewhere) + 0.1
    hidden = follower.step(3, clip.image(3), [], FrameTruth({}, (120, 160)))
    assert hidden.clicked == ()  # nobody clicks on what he does not see
    assert follower.prompted_frames == {"3": 2}


def test_online_gives_up_after_so_many_frames(nano: Sam2Model, clip: VosSequence) -> None:
    follower = Follower(nano, clip, "online")
    follower.step(0, clip.image(0), ["3"], clip.truth.at(0))
    # A truth that is never met: one pixel in the corner
    corner = np.zeros((120, 160), bool)
    corner[0, 0] = True
    clicked = [
        follower.step(i, clip.image(1), [], FrameTruth({"3": corner}, corner.shape)).clicked
        for i in range(1, 11)
    ]
    assert [len(names) for names in clicked] == [1] * (MAX_PROMPTED_FRAMES - 1) + [0] * 3


def test_an_unknown_kind_is_refused(nano: Sam2Model, clip: VosSequence) -> None:
    with pytest.raises(ValueError, match="prompt 'scribble' given, one of mask, box, click1"):
        Follower(nano, clip, "scribble")
