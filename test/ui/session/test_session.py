# SPDX-License-Identifier: Apache-2.0
"""Sessions with the real model: prompts, tracking both ways, corrections, clicks while tracking, undo and redo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")
from session_clips import (
    HEIGHT,
    WIDTH,
    box_around,
    clip,
    clip_folder,
    inside,
    iou,
    mask_of,
    masks_of,
    tracked,
    workspace,
)

from sam2_ros.errors import UserError
from sam2_ros.ui.session import MaskEvent

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return clip_folder(tmp_path_factory.mktemp("clip") / "frames")


@pytest.fixture
def opened(tmp_path, source):
    with workspace(tmp_path / "project", source) as (_, session, events):
        yield session, events


def add(session, number: int, frame: int = 0) -> None:
    assert session.add_object(f"thing {number}")["object"]["object"] == number
    session.box(frame, number, *box_around(number, frame))


def same(one, other) -> bool:
    return (one is None) == (other is None) and (one is None or np.array_equal(one, other))


def test_a_click_gives_the_mask_of_the_object_and_is_in_the_state(opened):
    session, _ = opened
    session.add_object("cup", "crockery")
    x, y = inside(1, 0)
    answer = session.click(0, 1, x, y, 1)
    assert answer["object"]["keyframes"] == [
        {"frame": 0, "points": [[x, y, 1]], "box": None, "mask": False, "accepted": False}
    ]
    found = mask_of(session, 0, 1)
    assert found is not None
    assert found[round(y), round(x)]
    assert iou(found, clip().masks[0, 0]) > 0.6
    state = session.state()
    assert state["undo"] == "click on cup"
    assert state["source"] | {"decoded": 24} == {
        "number": 1, "name": "frames", "kind": "folder", "frames": 24, "decoded": 24, "fps": 30.0,
        "width": WIDTH, "height": HEIGHT, "stamps_known": False,
    }  # fmt: skip


def test_a_preview_is_the_mask_that_a_click_would_give_and_changes_nothing(opened):
    session, _ = opened
    x, y = inside(2, 3)
    preview = session.preview(3, x, y, 1)
    assert preview is not None
    assert session.masks(3) == []
    session.add_object()
    session.click(3, 1, x, y, 1)
    assert same(preview.mask_hw, mask_of(session, 3, 1))


def test_taking_a_click_back_gives_the_mask_from_before_it(opened):
    session, _ = opened
    session.add_object()
    session.click(0, 1, *inside(1, 0), 1)
    first = mask_of(session, 0, 1)
    session.click(0, 1, *inside(2, 0), 0)
    session.unclick(0, 1, 1)
    assert same(mask_of(session, 0, 1), first)
    session.unclick(0, 1, 0)
    assert session.masks(0) == []
    assert session.state()["objects"][0]["keyframes"] == []


def test_a_stroke_is_drawn_into_the_mask_exactly_and_an_eraser_takes_it_away(opened):
    session, _ = opened
    add(session, 1)
    before = mask_of(session, 0, 1)
    session.stroke(0, 1, [[10, 10], [60, 12]], 4, False)
    after = mask_of(session, 0, 1)
    assert before is not None
    assert after is not None
    assert after[10, 10]
    assert after[11, 35]
    assert np.array_equal(after[30:], before[30:])
    session.stroke(0, 1, [[10, 10], [60, 12]], 8, True)
    erased = mask_of(session, 0, 1)
    assert erased is not None
    assert not erased[2:18, 10:60].any()
    assert session.state()["objects"][0]["keyframes"][0]["mask"]


def test_tracking_both_ways_follows_both_objects(opened):
    session, events = opened
    for number in (1, 2):
        add(session, number, frame=8)
    tracked(session, events, 8, "both")
    for number in (1, 2):
        scores = [iou(m, clip().masks[i, number - 1]) for i, m in enumerate(masks_of(session, number))]
        assert np.mean(scores) > 0.6, scores
    assert len(events.named("tracked")) == 1
    lanes = session.lanes()
    assert [int(lane.state[3]) for lane in lanes.values()] == [1, 1]
    assert lanes[1].keyframe.nonzero()[0].tolist() == [8]
    told = {event.frame for event in events.all if isinstance(event, MaskEvent)}
    assert told == set(range(24)) - {8}


def test_a_correction_changes_the_masks_behind_it_up_to_the_next_keyframe_and_nothing_else(opened):
    session, events = opened
    for number in (1, 2):
        add(session, number)
    session.box(18, 1, *box_around(1, 18))
    tracked(session, events, 0, "forward")
    before = {number: masks_of(session, number) for number in (1, 2)}
    session.stroke(9, 1, [[5, 5], [80, 8]], 6, False)
    drawn = mask_of(session, 9, 1)
    tracked(session, events, 9, "forward", objects=[1])
    after = masks_of(session, 1)
    assert all(same(after[i], before[1][i]) for i in range(9))
    assert same(after[9], drawn)
    assert any(not same(after[i], before[1][i]) for i in range(10, 18))
    assert all(same(after[i], before[1][i]) for i in range(18, 24))
    assert all(same(one, other) for one, other in zip(masks_of(session, 2), before[2], strict=True))


def test_a_locked_object_is_changed_by_nothing(opened):
    session, events = opened
    for number in (1, 2):
        add(session, number)
    tracked(session, events, 0, "forward")
    before = masks_of(session, 2)
    session.set_locked(2, True)
    with pytest.raises(UserError, match="'thing 2' is locked"):
        session.click(4, 2, 5, 5, 1)
    session.stroke(4, 1, [[5, 5]], 8, False)
    tracked(session, events, 4, "both")
    assert all(same(one, other) for one, other in zip(masks_of(session, 2), before, strict=True))


def test_a_click_is_answered_between_two_frames_and_tracking_goes_on(opened):
    session, events = opened
    add(session, 1)
    session.add_object("later")
    session.track(0, "forward")
    session.click(2, 2, *inside(2, 2), 1)
    answered = len(events.all)
    events.wait(lambda: bool(events.named("tracked")))
    end = events.all.index(events.named("tracked")[0])
    assert any(isinstance(event, MaskEvent) for event in events.all[answered:end])
    assert mask_of(session, 23, 1) is not None
    # The click is undone between the two parts of the track: in the order in which they were made.
    made = [masks_of(session, number) for number in (1, 2)]
    undone = []
    while title := session.undo()["undone"]:
        undone.append(title)
    assert undone[0].startswith("track")
    assert "click on later" in undone
    assert all(mask is None for mask in masks_of(session, 1) + masks_of(session, 2))
    while session.redo()["redone"]:
        pass
    for number, masks in zip((1, 2), made, strict=True):
        assert all(same(one, other) for one, other in zip(masks_of(session, number), masks, strict=True))


def test_cancelling_keeps_what_is_done_and_tracking_goes_on_from_there_with_equal_masks(opened):
    session, events = opened
    add(session, 1)
    add(session, 2)
    tracked(session, events, 0, "forward")
    whole = {number: masks_of(session, number) for number in (1, 2)}
    assert session.undo()["undone"].startswith("track")
    assert mask_of(session, 1, 1) is None
    session.track(0, "forward")
    events.wait(lambda: len([e for e in events.all if isinstance(e, MaskEvent)]) > 23 + 4)
    assert session.cancel() == {"cancelled": True}
    done = [i for i in range(24) if mask_of(session, i, 1) is not None]
    assert 4 <= len(done) < 24
    assert events.named("tracked")[-1]["cancelled"]
    tracked(session, events, done[-1], "forward")
    for number in (1, 2):
        assert all(same(m, w) for m, w in zip(masks_of(session, number), whole[number], strict=True))


def test_a_keyframe_is_never_overwritten_and_gives_the_tracker_its_mask(opened):
    session, events = opened
    add(session, 1)
    session.add_object("square")
    session.stroke(12, 1, [[150, 100]], 12, False)
    drawn = mask_of(session, 12, 1)
    tracked(session, events, 0, "forward")
    assert same(mask_of(session, 12, 1), drawn)


def test_undo_and_redo_bring_back_equal_masks(opened):
    session, events = opened
    add(session, 1)
    tracked(session, events, 0, "forward")
    session.click(6, 1, *inside(1, 6), 1)
    tracked(session, events, 6, "both")
    session.stroke(3, 1, [[9, 9]], 5, False)
    session.delete_object(1)
    states, titles = [], []
    while session.state()["undo"]:
        states.append((masks_of(session, 1), session.state()["objects"]))
        titles.append(session.undo()["undone"])
    assert titles == [
        "delete thing 1", "draw on thing 1", "track thing 1 both", "click on thing 1",
        "track thing 1 forward", "box on thing 1", "add thing 1",
    ]  # fmt: skip
    assert session.state()["objects"] == []
    for masks, objects in reversed(states):
        session.redo()
        assert session.state()["objects"] == objects
        assert all(same(one, other) for one, other in zip(masks_of(session, 1), masks, strict=True))
    assert session.state()["redo"] == ""


def test_clearing_a_corrected_frame_brings_the_tracked_mask_back(opened):
    session, events = opened
    add(session, 1)
    tracked(session, events, 0, "keyframe")
    before = mask_of(session, 7, 1)
    session.click(7, 1, *inside(1, 7), 1)
    session.clear(7, 1)
    assert same(mask_of(session, 7, 1), before)
    assert [key["frame"] for key in session.state()["objects"][0]["keyframes"]] == [0]


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda s: s.click(99, 1, 1, 1, 1), "frame 99 given, a frame from 0 to 23 expected"),
        (lambda s: s.click(0, 7, 1, 1, 1), "object 7 given, the number of an object expected: 1"),
        (lambda s: s.click(0, 1, float("nan"), 1, 1), "x nan given, a number of pixels expected"),
        (lambda s: s.click(0, 1, 5000.0, 1, 1), "outside the image"),
        (lambda s: s.click(0, 1, 1, 1, 3), "sign 3 given"),
        (lambda s: s.box(0, 1, 5, 5, 5, 5), "has no area"),
        (lambda s: s.stroke(0, 1, [], 3, False), "a stroke of 0 points"),
        (lambda s: s.stroke(0, 1, [["a", 1]], 3, False), "not numbers"),
        (lambda s: s.unclick(0, 1, 0), "click 0 given"),
        (lambda s: s.track(0, "sideways"), "direction 'sideways' given"),
        (lambda s: s.track(0, "forward"), "nothing to track forward from this frame"),
        (lambda s: s.track(0, "forward", ["a"]), "objects that are not numbers given"),
        (lambda s: s.set_settings({"opacity": float("nan")}), "a small JSON object expected"),
        (lambda s: s.set_settings({"object": {"emoji": "x" * 30_000}}), "a small JSON object expected"),
        (lambda s: s.rename(1, " "), "an empty name given"),
        (lambda s: s.rename(1, "x" * 500), "a name of 500 characters"),
    ],
)
def test_a_bad_request_is_refused_in_one_line_and_changes_nothing(opened, call, line):
    session, _ = opened
    session.add_object("cup")
    before = session.state()
    with pytest.raises(UserError, match=line) as raised:
        call(session)
    assert "\n" not in str(raised.value)
    assert session.state() == before
    assert session.masks(0) == []
