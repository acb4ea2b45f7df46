# SPDX-License-Identifier: Apache-2.0
"""Clicks that correct a mask change it where they are, and nowhere else; a negative click alone leaves the object."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")
from session_clips import box_around, clip, clip_folder, iou, mask_of, tracked, workspace

from sam2_ros.ui.session.click_rules import changed_at_clicks, follow_clicks


def squares(*places: tuple[int, int]) -> np.ndarray:
    """``[40, 60]`` bool with a square of 8 pixels at each place (row, column)."""
    mask = np.zeros((40, 60), bool)
    for row, column in places:
        mask[row : row + 8, column : column + 8] = True
    return mask


def test_only_the_part_of_a_change_that_holds_the_click_is_taken():
    before = squares((0, 0), (0, 20), (20, 0))
    after = squares((0, 0), (20, 20), (20, 40))  # two squares gone, two new ones
    gone = changed_at_clicks(before, after, [(23.4, 3.0, 0)])
    assert np.array_equal(gone, squares((0, 0), (20, 0)))
    came = changed_at_clicks(before, after, [(44.0, 27.4, 1)])
    assert np.array_equal(came, squares((0, 0), (0, 20), (20, 0), (20, 40)))
    both = changed_at_clicks(before, after, [(44, 24, 1), (24, 4, 0)])
    assert np.array_equal(both, squares((0, 0), (20, 0), (20, 40)))


def test_a_click_that_the_mask_agrees_with_changes_nothing():
    before, after = squares((0, 0), (0, 20)), squares((0, 0), (20, 20))
    assert np.array_equal(changed_at_clicks(before, after, [(2, 2, 1)]), before)
    assert np.array_equal(changed_at_clicks(before, after, [(50, 30, 0)]), before)


def test_a_negative_click_that_the_decoder_does_not_follow_takes_away_the_thing_under_it():
    mask, thing = squares((0, 0), (0, 8), (0, 16)), squares((0, 16), (20, 20))
    asked = []
    result = follow_clicks(mask, [(20, 4, 0)], lambda clicks: asked.append(clicks) or thing)
    assert np.array_equal(result, squares((0, 0), (0, 8)))
    ((x, y, sign), (inner_x, inner_y, inner_sign)) = asked[0]
    assert (x, y, sign) == (20, 4, 1)
    assert mask[int(inner_y), int(inner_x)]
    assert inner_sign == 0


def test_a_positive_click_that_the_decoder_does_not_follow_adds_the_thing_under_it():
    mask, thing = squares((0, 0)), squares((0, 0), (20, 20), (20, 50))
    result = follow_clicks(mask, [(4, 4, 1), (24, 24, 1)], lambda _: thing)
    assert np.array_equal(result, squares((0, 0), (20, 20)))


@pytest.mark.parametrize("thing", [squares((0, 0), (0, 8)), squares((20, 20)), squares((0, 8), (0, 16))])
def test_a_thing_that_cannot_be_meant_gives_a_disk_at_the_click(thing):
    """Most of the mask; a thing elsewhere; a thing on which the user has clicked positively."""
    mask = squares((0, 0), (0, 8), (0, 16))
    result = follow_clicks(mask, [(20, 4, 1), (12, 4, 0)], lambda _: thing)
    assert not result[4, 12]
    assert result[4, 20]
    assert 1 <= (mask & ~result).sum() <= 9
    assert not (result & ~mask).any()


def test_every_click_holds_whatever_is_decoded():
    clicks = [(3.0, 3.0, 0), (99.0, -5.0, 1), (30.0, 20.0, 1), (30.0, 20.0, 0)]
    for thing in (np.zeros((40, 60), bool), np.ones((40, 60), bool)):
        result = follow_clicks(squares((0, 0)), clicks, lambda _, thing=thing: thing)
        assert not result[3, 3]
        assert result[0, 59]
        assert not result[20, 30]


@pytest.mark.long
def test_a_negative_click_on_a_tracked_mask_takes_away_what_it_hits(tmp_path):
    source = clip_folder(tmp_path / "frames")
    with workspace(tmp_path / "p", source) as (_, session, events):
        session.add_object("thing")
        session.box(0, 1, *box_around(1, 0))
        tracked(session, events, 0, "forward")
        before = mask_of(session, 9, 1)
        x0, y0, x1, y1 = box_around(1, 9)
        # A false part beside the object, as if a neighbour had joined it.
        x = x1 + 12 if x1 < 150 else x0 - 12
        session.stroke(9, 1, [[x, y0], [x, y1]], 6, False)
        assert mask_of(session, 9, 1)[round((y0 + y1) / 2), round(x)]
        session.click(9, 1, x, (y0 + y1) / 2, 0)
        after = mask_of(session, 9, 1)
        assert not after[round((y0 + y1) / 2), round(x)]
        assert iou(after, before) > 0.5
        session.clear(9, 1)
        assert np.array_equal(mask_of(session, 9, 1), before)


@pytest.mark.long
def test_a_positive_click_adds_what_it_hits_and_keeps_the_rest(tmp_path):
    source = clip_folder(tmp_path / "frames")
    with workspace(tmp_path / "p", source) as (_, session, events):
        session.add_object("thing")
        session.box(0, 1, *box_around(1, 0))
        tracked(session, events, 0, "forward")
        x0, y0, x1, y1 = box_around(1, 9)
        session.stroke(9, 1, [[x1, y0 - 5], [x1, y1 + 5]], (x1 - x0) / 2, True)  # the right half is gone
        half = mask_of(session, 9, 1)
        truth = clip().masks[9, 0]
        lost = np.argwhere(truth & ~half)
        row, column = lost[np.abs(lost - lost.mean(0)).sum(1).argmin()]
        session.click(9, 1, float(column), float(row), 1)
        after = mask_of(session, 9, 1)
        assert after[row, column]
        assert not (half & ~after).any()
        assert iou(after, truth) > iou(half, truth)
