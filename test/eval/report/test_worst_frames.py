# SPDX-License-Identifier: Apache-2.0
"""Which frames are shown, and what is drawn on them."""

from __future__ import annotations

import numpy as np
import pytest

from sam2_ros.eval.report.data import Curve, ReportedObject
from sam2_ros.eval.report.plots import hidden_spans
from sam2_ros.eval.report.worst_frames import (
    PICTURE_PX,
    TRUTH_RGB,
    FrameMasks,
    choose_worst_frames,
    draw_frame,
)
from sam2_ros.media.overlay import colour_of


def an_object(sequence, key, j, visible=None, at=None):
    count = len(j)
    curve = Curve(at or range(count), j, [5.0] * count, ["TRACKING"] * count, visible or [True] * count)
    return ReportedObject(sequence, key, int(key), {}, curve)


def shown(moments):
    return [(moment.object.sequence, moment.object.id, moment.at, moment.j) for moment in moments]


def test_the_worst_come_first_and_are_not_close_together():
    j = [90.0] * 40
    j[10:14] = [5.0, 2.0, 4.0, 3.0]
    j[30] = 20.0
    moments = choose_worst_frames([an_object("dog", "1", j)], 3)
    assert shown(moments)[:2] == [("dog", "1", 11, 2.0), ("dog", "1", 30, 20.0)]
    assert moments[0].position == 11
    assert all(abs(a.at - b.at) > 39 / 6 for a in moments for b in moments if a is not b)


def test_of_a_lost_object_the_first_lost_frame_is_chosen():
    moments = choose_worst_frames([an_object("dog", "1", [80.0] * 20 + [0.0] * 20)], 1)
    assert shown(moments) == [("dog", "1", 20, 0.0)]


def test_hidden_and_unscored_frames_are_not_asked_for():
    j = [50.0, 0.0, None, 40.0]
    moments = choose_worst_frames([an_object("dog", "1", j, visible=[True, False, None, True])], 1)
    assert shown(moments) == [("dog", "1", 3, 40.0)]


def test_one_bad_sequence_does_not_take_every_place():
    bad = [an_object("bad", str(key), [0.0] * 50) for key in (1, 2, 3)]
    good = an_object("good", "1", [70.0] * 50)
    moments = choose_worst_frames([*bad, good], 6, per_sequence=2)
    assert [moment.object.sequence for moment in moments] == ["bad", "bad", "good", "good"]
    assert choose_worst_frames([], 6) == []


def test_positions_may_be_seconds_or_frames():
    at = [0.5 * n for n in range(20)]
    moments = choose_worst_frames([an_object("node", "1", [60.0] * 9 + [1.0] + [60.0] * 10, at=at)], 1)
    assert (moments[0].at, moments[0].position) == (4.5, 9)


def test_the_answer_is_tinted_and_the_truth_outlined():
    answer, truth = np.zeros((60, 80), bool), np.zeros((60, 80), bool)
    answer[5:25, 5:25], truth[35:55, 40:70] = True, True
    image = draw_frame(FrameMasks(np.full((60, 80, 3), 100, np.uint8), {"1": answer}, {"1": truth}), "1", 1)
    expected = 0.55 * 100 + 0.45 * np.array(colour_of(1))
    assert image[15, 15] == pytest.approx(expected, abs=2)
    assert tuple(image[35, 55]) == TRUTH_RGB
    assert tuple(image[45, 55]) == (100, 100, 100)  # an outline, not an area
    assert tuple(image[5, 75]) == (100, 100, 100)


def test_a_large_frame_is_made_small_and_stays_what_it_was():
    frame = np.full((1200, 1600, 3), 40, np.uint8)
    mask = np.zeros((1200, 1600), bool)
    mask[:600] = True
    image = draw_frame(FrameMasks(frame, {"1": mask}, {"1": mask}), "1", 3)
    assert image.shape == (480, PICTURE_PX, 3)
    assert (frame == 40).all()
    assert draw_frame(FrameMasks(frame, {}, {}), "1", 3).std() == 0


def test_hidden_stretches_end_where_it_shows_again():
    visible = [True, False, False, True, None, False]
    curve = an_object("dog", "1", [None] * 6, visible=visible, at=[0, 2, 4, 6, 8, 10]).curve
    assert hidden_spans(curve) == [(2, 6), (10, 12)]
