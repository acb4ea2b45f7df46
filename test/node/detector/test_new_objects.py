# SPDX-License-Identifier: Apache-2.0
"""Detections of objects that are not tracked: when a new object is created, and that it is created once."""

from __future__ import annotations

import pytest
from detector_scenes import CUP, PENDING, PERIOD_S, Robot, at, cup, hidden, run, tracked

from sam2_ros.node.detector.association import Associator
from sam2_ros.node.detector.detections import BoxPrompt, KnownObject


def test_a_new_thing_is_created_when_it_was_seen_twice():
    associator = Associator("track_all", 0.5, 8)
    assert run(associator, [[cup(CUP, 0.7)], [cup(at(102), 0.8)]], []) == [
        [],
        [BoxPrompt("", at(102), "cup", 0.8)],
    ]
    assert associator.counts == {"matched": 0, "reseeded": 0, "created": 1, "ignored": 1}


@pytest.mark.parametrize("gap", [1, 2, 5])
def test_two_detections_within_three_messages_confirm_an_object(gap):
    associator = Associator("track_all", 0.5, 8)
    messages = [[cup(CUP)], *[[]] * (gap - 1), [cup(CUP)]]
    assert bool(run(associator, messages, [])[-1]) == (gap <= 2)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (at(100), at(112, 106)),
        ((20.0, 50.0, 220.0, 70.0), (100.0, 50.0, 300.0, 70.0)),  # long, and moved along its length
        ((100.0, 60.0, 140.0, 100.0), (100.0, 60.0, 140.0, 190.0)),  # rising from behind something
    ],
)
def test_a_thing_that_moves_or_grows_is_still_the_same(before, after):
    assert run(Associator("track_all", 0.5, 8), [[cup(before)], [cup(after)]], [])[-1]


def test_a_detection_of_a_minute_ago_confirms_nothing():
    associator = Associator("track_all", 0.5, 8)
    assert not any(associator.take([cup(CUP)], [], 60.0 * number) for number in range(5))


def test_two_messages_of_one_image_count_once():
    associator = Associator("track_all", 0.5, 8)
    assert associator.take([cup(CUP)], [], 1.0) == []
    assert associator.take([cup(CUP)], [], 1.0) == []
    assert len(associator.take([cup(CUP)], [], 1.1)) == 1


def test_two_detectors_that_take_turns_on_one_topic_are_both_heard():
    associator = Associator("track_all", 0.5, 8)
    created = []
    for number in range(4):
        stamp_s = 1.0 + number * PERIOD_S
        created += associator.take([cup(CUP)], [], stamp_s)
        created += associator.take([cup(at(200), class_id="face")], [], stamp_s)
    assert sorted({prompt.class_id for prompt in created}) == ["cup", "face"]


def test_boxes_at_scattered_places_create_nothing():
    robot = Robot()
    for number in range(40):
        robot.see({"none": CUP}, [cup(at(10 + 97 * number % 250, 20 + 61 * number % 160))])
    assert robot.objects == {}


def test_reseed_creates_nothing():
    robot = Robot("reseed")
    for _ in range(10):
        robot.see({"cup": CUP}, [cup(CUP)])
    assert robot.objects == {}
    assert robot.associator.counts["ignored"] == 10


def test_with_max_objects_the_best_are_created_and_the_next_when_there_is_room():
    associator = Associator("track_all", 0.5, 3)
    known = [tracked("a", at(10)), hidden("b", at(10, 10), "hat")]
    message = [cup(at(100), 0.6), cup(at(150), 0.9), cup(at(200), 0.8)]
    prompts = run(associator, [message] * 2, known)[-1]
    assert [prompt.score for prompt in prompts] == [0.9]
    full = [*known, KnownObject("c", "cup", PENDING, at(150))]
    assert not any(run(associator, [message] * 5, full, start_s=1.2))
    assert associator.take(message, [known[0], full[2]], 1.7) == [BoxPrompt("", at(200), "cup", 0.8)]


@pytest.mark.parametrize("latency", [0, 3, 8, 40])
def test_a_moving_thing_is_created_once_however_slow_the_node_is(latency):
    robot = Robot(latency=latency)
    for number in range(60):
        place = at(10 + 4.0 * number)
        robot.see({"cup": place}, [cup(place)])
    assert robot.on == {"object_1": "cup"}
    assert len(robot.prompts) == 1


def test_a_detector_of_one_message_a_second_is_served():
    robot = Robot(period_s=1.0)
    for number in range(6):
        robot.see({"cup": at(50 + 10 * number)}, [cup(at(50 + 10 * number))])
    assert robot.on == {"object_1": "cup"}


def test_nothing_is_created_while_an_object_is_asked_for_at_no_known_place():
    associator = Associator("track_all", 0.5, 8)
    clicked = KnownObject("clicked", "", PENDING, None)
    assert not any(run(associator, [[cup(CUP)]] * 5, [clicked]))
    assert not any(run(associator, [[cup(CUP)]] * 5, [tracked("clicked", CUP, "")], start_s=1.5))
