# SPDX-License-Identifier: Apache-2.0
"""Detections while objects are hidden: which object is prompted again, and where, under its own id."""

from __future__ import annotations

import itertools

import pytest
from detector_scenes import CUP, LOST, OCCLUDED, Robot, at, cup, hidden, run, tracked

from sam2_ros.node.detector.association import Associator
from sam2_ros.node.detector.detections import BoxPrompt, Detection


@pytest.mark.parametrize("state", [OCCLUDED, LOST])
def test_a_hidden_object_is_prompted_when_it_was_seen_twice(state):
    associator = Associator("reseed", 0.5, 8)
    known = [hidden("a", CUP, last_s=0.5, state=state)]
    prompts = run(associator, [[cup(at(120))], [], [cup(at(122), 0.8)]], known)
    assert prompts == [[], [], [BoxPrompt("a", at(122), "cup", 0.8)]]
    assert associator.counts == {"matched": 0, "reseeded": 1, "created": 0, "ignored": 1}


@pytest.mark.parametrize("mode", ["reseed", "track_all"])
def test_an_object_that_returns_elsewhere_keeps_its_id(mode):
    robot = Robot(mode)
    robot.track("a", "cup", CUP)
    for _ in range(15):
        robot.see({"other": at(0, 0)}, [])
    for _ in range(5):
        robot.see({"cup": at(260, 20)}, [cup(at(260, 20))])
    assert robot.on == {"a": "cup"}
    assert [prompt.id for prompt in robot.prompts] == ["a"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_two_lost_look_alikes_take_the_nearest_each(order):
    places = [cup(at(30)), cup(at(230))]
    known = [hidden("a", at(10)), hidden("b", at(250))]
    associator = Associator("track_all", 0.5, 8)
    message = [(*places, Detection(CUP, 0.1, "cup"), Detection(CUP, 0.9, "hat"))[index] for index in order]
    prompts = run(associator, [message] * 2, known)[-1]
    assert {prompt.id: prompt.box for prompt in prompts if prompt.id} == {"a": at(30), "b": at(230)}


def test_an_exact_return_is_preferred_to_two_long_ways():
    known = [hidden("a", at(0)), hidden("b", at(140))]
    prompts = run(Associator("reseed", 0.5, 8), [[cup(at(140)), cup(at(280))]] * 2, known)[-1]
    assert {prompt.id: prompt.box for prompt in prompts}["b"] == at(140)


def test_of_two_lost_objects_the_one_of_its_class_is_preferred():
    known = [hidden("a", CUP, ""), hidden("b", at(104))]
    prompts = run(Associator("reseed", 0.5, 8), [[cup(CUP)]] * 2, known)[-1]
    assert [prompt.id for prompt in prompts] == ["b"]


def test_of_boxes_that_show_one_thing_the_best_scored_is_used():
    message = [cup(CUP, 0.6), cup(at(104), 0.9), cup(at(102), 0.7, "")]
    for known in ([], [hidden("a", CUP)]):
        prompts = run(Associator("track_all", 0.5, 8), [message] * 2, known)[-1]
        assert [(prompt.box, prompt.score) for prompt in prompts] == [(at(104), 0.9)]


def test_two_poor_boxes_of_one_thing_do_not_bring_back_two_objects():
    known = [hidden("a", at(90)), hidden("b", at(110))]
    message = [cup(at(100)), cup(at(109))]
    prompts = run(Associator("reseed", 0.5, 8), [message] * 8, known)
    assert [len(found) for found in prompts] == [0, 1, 0, 0, 0, 0, 0, 0]


def test_an_object_removed_while_its_prompt_is_on_its_way_gives_room_to_a_new_one():
    associator = Associator("track_all", 0.5, 8)
    assert run(associator, [[cup(CUP)]] * 2, [hidden("a", CUP)])[-1][0].id == "a"
    prompts = run(associator, [[cup(CUP)]] * 2, [], start_s=1.2)
    assert [[prompt.id for prompt in found] for found in prompts] == [[], [""]]


def test_another_class_is_not_the_lost_object():
    known = [hidden("a", CUP)]
    assert not any(run(Associator("reseed", 0.5, 8), [[cup(CUP, class_id="hat")]] * 6, known))


@pytest.mark.parametrize(
    ("box", "hidden_s", "expected"),
    [
        (at(105), 0.1, True),
        ((100.0, 100.0, 140.0, 230.0), 0.1, True),  # more of it, in the same place
        (at(190), 0.1, False),
        (at(190), 3.0, True),
        (at(270), 30.0, False),  # without classes, not at the other end of the image
        ((60.0, 20.0, 240.0, 230.0), 3.0, False),  # and not for a much larger box
    ],
)
@pytest.mark.parametrize(("ours", "theirs"), [("", ""), ("cup", ""), ("", "cup")])
def test_without_a_class_the_lost_object_must_be_within_reach(box, hidden_s, expected, ours, theirs):
    known = [hidden("a", CUP, ours, last_s=1.0 - hidden_s)]
    prompts = run(Associator("reseed", 0.5, 8), [[cup(box, class_id=theirs)]] * 2, known)[-1]
    assert [prompt.id for prompt in prompts] == (["a"] if expected else [])
    assert all(prompt.class_id == (ours or theirs) for prompt in prompts)


def test_an_object_never_seen_is_prompted_by_its_class_only():
    never = hidden("a", None, last_s=None)
    assert run(Associator("reseed", 0.5, 8), [[cup(CUP)]] * 2, [never])[-1][0].id == "a"
    assert not any(run(Associator("reseed", 0.5, 8), [[cup(CUP, class_id="")]] * 3, [never]))


def test_the_other_cup_that_was_there_all_along_is_not_the_lost_one():
    robot = Robot("reseed")
    robot.track("a", "mine", at(20))
    for _ in range(10):
        robot.see({"mine": at(20), "other": at(220)}, [cup(at(20)), cup(at(220))])
    for number in range(40):  # taken away; the other one flickers
        robot.see({"other": at(220)}, [cup(at(220))] if number % 9 > 4 else [])
    assert robot.prompts == []
    for _ in range(3):
        robot.see({"other": at(220), "mine": at(80)}, [cup(at(220)), cup(at(80))])
    assert robot.on == {"a": "mine"}
    assert [prompt.id for prompt in robot.prompts] == ["a"]


def test_a_prompt_on_its_way_is_not_sent_again_and_not_given_to_another():
    robot = Robot("track_all", latency=8)
    robot.track("a", "one", at(40))
    robot.track("b", "two", at(240))
    robot.see({"one": at(40), "two": at(240)}, [])
    for _ in range(12):
        robot.see({"none": at(0, 0)}, [])
    for number in range(9):
        robot.see({"one": at(60 + 3 * number)}, [cup(at(60 + 3 * number)), cup(at(64 + 3 * number, 104))])
    assert [prompt.id for prompt in robot.prompts] == ["a"]


def test_a_prompt_that_shows_nothing_is_tried_again_after_the_cool_down():
    associator = Associator("reseed", 0.5, 8)
    prompts = run(associator, [[cup(CUP)]] * 30, [hidden("a", CUP)])
    at_message = [number for number, found in enumerate(prompts) if found]
    assert at_message[0] == 1
    assert 2 <= len(at_message) <= 3
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(at_message))


def test_an_object_that_came_back_and_is_hidden_again_is_prompted_at_once():
    associator = Associator("reseed", 0.5, 8)
    assert run(associator, [[cup(CUP)]] * 2, [hidden("a", CUP)])[-1]
    run(associator, [[cup(CUP)]], [tracked("a", CUP, stamp_s=1.2)], start_s=1.2)
    again = run(associator, [[cup(at(140))]] * 2, [hidden("a", CUP, last_s=1.2, state=OCCLUDED)], start_s=1.3)
    assert [len(found) for found in again] == [0, 1]


def test_two_people_who_cross_keep_their_names():
    robot = Robot("track_all")
    people = {"left": at(10, 40, 40, 120), "right": at(270, 40, 40, 120)}
    for name, box in people.items():
        robot.track(name, name, box, "person")
    for step in range(27):
        left, right = at(10 + 10 * step, 40, 40, 120), at(270 - 10 * step, 40, 40, 120)
        visible = {"left": left} if abs(left[0] - right[0]) < 30 else {"left": left, "right": right}
        robot.see(visible, [cup(box, class_id="person") for box in visible.values()])
    assert robot.on == {"left": "left", "right": "right"}
    assert robot.prompts == [] or {prompt.id for prompt in robot.prompts} == {"right"}
    assert robot.associator.counts["created"] == 0


def test_a_ghost_beside_the_lost_one_does_not_turn_its_return_into_a_new_object():
    robot = Robot("track_all")
    robot.track("a", "cup", at(40))
    robot.see({"cup": at(40)}, [cup(at(40))])
    for _ in range(5):
        robot.see({"none": at(0, 0)}, [])
    robot.see({"cup": at(200)}, [cup(at(200))])
    robot.see({"cup": at(200)}, [cup(at(200)), cup(at(45))])
    for _ in range(4):
        robot.see({"cup": at(200)}, [cup(at(200))])
    assert robot.on == {"a": "cup"}


def test_a_lost_object_is_not_prompted_onto_one_that_is_tracked():
    associator = Associator("reseed", 0.5, 8)
    known = [hidden("a", at(110)), tracked("b", CUP)]
    message = [cup(CUP), cup((100.0, 100.0, 140.0, 130.0)), cup((97.0, 94.0, 147.0, 160.0))]
    assert not any(run(associator, [message] * 6, known))
