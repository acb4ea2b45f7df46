# SPDX-License-Identifier: Apache-2.0
"""Doubtful frames: each reason is found where it is, and a steady track has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("sqlalchemy")

from sam2_ros.ui.session.doubt import Doubt, MaskNumbers, doubtful_frames


def steady(frames: int = 20) -> list[MaskNumbers]:
    """A mask of 400 px that moves by 3 px a frame."""
    return [MaskNumbers(i, 6.0, 0.9, i == 0, 400, 20.0 + 3 * i, 50.0) for i in range(frames)]


def changed(at: int, **values: object) -> list[MaskNumbers]:
    masks = steady()
    masks[at] = replace(masks[at], **values)
    return masks


def test_a_steady_track_has_no_doubtful_frame():
    assert doubtful_frames(steady()) == []


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"presence": 0.4}, "presence near 0"),
        ({"presence": -0.4, "area": 0}, "presence near 0"),
        ({"predicted_iou": 0.3}, "low predicted IoU"),
        ({"area": 900}, "area jumps"),
        ({"centroid_y": 90.0}, "position jumps"),
    ],
)
def test_each_reason_is_found_on_its_frame(values, why):
    assert doubtful_frames(changed(7, **values))[0] == Doubt(7, why)


def test_a_keyframe_is_not_doubtful():
    assert doubtful_frames(changed(7, predicted_iou=0.1, keyframe=True)) == []


def test_of_successive_frames_with_one_reason_only_the_first_is_named():
    masks = [replace(m, presence=0.2) if 5 <= m.frame < 12 else m for m in steady()]
    assert doubtful_frames(masks) == [Doubt(5, "presence near 0")]


def test_a_fast_object_is_not_doubtful_for_its_speed():
    masks = [replace(m, centroid_x=30.0 * m.frame) for m in steady()]
    assert doubtful_frames(masks) == []


def test_a_jump_over_frames_that_were_not_tracked_is_none():
    masks = [m for m in changed(7, centroid_y=90.0) if m.frame not in (6, 8)]
    assert doubtful_frames(masks) == []


def test_an_absent_object_is_not_doubtful():
    masks = [replace(m, presence=-6.0, area=0, predicted_iou=0.0) if m.frame > 9 else m for m in steady()]
    assert doubtful_frames(masks) == []
