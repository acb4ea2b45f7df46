# SPDX-License-Identifier: Apache-2.0
"""Detections while objects are visible: which show them, and which show another object beside, on or under them."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from detector_scenes import CUP, PERIOD_S, SIZE_HW, Robot, at, cup, run, shaken, tracked

from sam2_ros.node.detector.association import Associator
from sam2_ros.node.detector.detections import Detection


@pytest.mark.parametrize("class_id", ["cup", "", "mug"])
def test_a_detection_of_a_tracked_object_is_ignored(class_id):
    associator = Associator("track_all", 0.5, 8)
    assert not any(run(associator, [[cup(at(104), class_id=class_id)]] * 5, [tracked("a", CUP)]))
    assert associator.counts["matched"] == 5


def test_a_tracked_pen_lying_across_its_box_is_matched():
    pen = np.zeros(SIZE_HW, bool)
    for x in range(50, 200):
        pen[30 + x // 2 : 33 + x // 2, x] = True
    known = [tracked("pen", (50, 55, 200, 132), "pen", mask=pen)]
    associator = Associator("track_all", 0.5, 8)
    assert not any(run(associator, [[Detection((48, 52, 203, 130), 0.9, "pen")]] * 4, known))
    assert associator.counts["matched"] == 4


@pytest.mark.parametrize("pattern", ["110", "10", "100", "1", "1110001"])
def test_a_flickering_detector_makes_one_object_of_one_thing(pattern):
    robot = Robot()
    for on, _ in zip(itertools.cycle(pattern), range(60), strict=False):
        robot.see({"cup": CUP}, [cup(CUP)] if on == "1" else [])
    assert len(robot.objects) == (0 if pattern == "100" else 1)
    assert len(robot.prompts) == len(robot.objects)


@pytest.mark.parametrize("seed", range(8))
def test_a_jittering_detector_makes_one_object(seed):
    chance, robot = random.Random(seed), Robot()
    for _ in range(100):
        robot.see({"cup": CUP}, [cup(shaken(CUP, 0.2, chance), chance.uniform(0.4, 1.0))])
    assert robot.on == {"object_1": "cup"}
    assert len(robot.prompts) == 1


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("latency", [0, 1, 6])
def test_a_class_that_flips_makes_one_object(seed, latency):
    chance, robot = random.Random(seed), Robot(latency=latency)
    for number in range(100):
        name = ("cup", "bowl")[number % 2] if seed % 2 else chance.choice(("cup", "bowl", "mug"))
        robot.see({"cup": CUP}, [cup(shaken(CUP, 0.1, chance), class_id=name)])
    assert len(robot.objects) == 1
    assert len(robot.prompts) == 1


@pytest.mark.parametrize("latency", [0, 6])
def test_a_class_that_flips_with_a_poor_box_makes_one_object(latency):
    robot = Robot(latency=latency)
    for number in range(40):
        robot.see({"cup": CUP}, [cup(at(118), class_id="bowl") if number % 2 else cup(CUP)])
    assert robot.on == {"object_1": "cup"}


def test_another_class_that_overlaps_what_the_detector_never_names_is_an_object_of_its_own():
    """A saucer under the tracked cup; the detector has no class for cups."""
    associator = Associator("track_all", 0.5, 8)
    prompts = run(associator, [[cup(at(118), class_id="saucer")]] * 2, [tracked("a", CUP)])
    assert [len(found) for found in prompts] == [0, 1]


@pytest.mark.parametrize("class_id", ["", "person"])
def test_a_person_in_the_corner_of_a_tracked_sofa_is_an_object_of_its_own(class_id):
    sofa, person = (20.0, 20.0, 220.0, 180.0), (55.0, 25.0, 218.0, 145.0)
    mask = np.zeros(SIZE_HW, bool)
    mask[20:180, 20:50] = mask[150:180, 20:220] = True
    associator = Associator("track_all", 0.5, 8)
    for number in range(2):
        known = [tracked("sofa", sofa, "sofa" if class_id else "", stamp_s=number * PERIOD_S, mask=mask)]
        prompts = associator.take([cup(person, class_id=class_id)], known, number * PERIOD_S)
    assert [prompt.box for prompt in prompts] == [person]


def test_a_box_nearly_the_same_is_no_new_object_whatever_the_mask():
    """A picture frame: a box just inside it contains none of its pixels."""
    mask = np.zeros(SIZE_HW, bool)
    mask[20:220, 20:300] = True
    mask[24:216, 24:296] = False
    known = [tracked("frame", (20, 20, 300, 220), "frame", stamp_s=1.0, mask=mask)]
    associator = Associator("track_all", 0.5, 8)
    assert not any(run(associator, [[cup((25, 25, 295, 215), class_id="picture")]] * 4, known))


def test_two_classes_of_one_box_at_once_make_one_object():
    robot = Robot()
    for _ in range(20):
        robot.see({"cup": CUP}, [cup(CUP, 0.9), cup(at(103, 102), 0.8, "bowl"), cup(at(106, 98), 0.7, "mug")])
    assert robot.on == {"object_1": "cup"}


def test_fifty_boxes_on_one_thing_make_one_object():
    chance, robot = random.Random(3), Robot()
    for _ in range(10):
        robot.see({"cup": CUP}, [cup(shaken(CUP, 0.12, chance), chance.random()) for _ in range(50)])
    assert robot.on == {"object_1": "cup"}
    counts = robot.associator.counts
    assert sum(counts.values()) == 500
    assert counts["created"] == 1


def test_part_and_whole_of_one_class_are_one_object():
    person, torso = (60.0, 20.0, 140.0, 220.0), (60.0, 20.0, 140.0, 95.0)
    robot = Robot(latency=4)
    for _ in range(30):
        robot.see({"person": person}, [cup(person, 0.8, "person"), cup(torso, 0.9, "person")])
    assert len(robot.objects) == 1


def test_a_thing_in_the_hand_of_a_tracked_person_is_an_object_of_its_own():
    person, held = (60.0, 20.0, 160.0, 220.0), (90.0, 100.0, 115.0, 130.0)
    robot = Robot()
    robot.track("p", "person", person, "person")
    for _ in range(4):
        robot.see({"person": person, "cup": held}, [cup(person, 0.9, "person"), cup(held)])
    assert robot.on == {"p": "person", "object_2": "cup"}


@pytest.mark.parametrize("class_id", ["person", ""])
def test_the_person_who_holds_a_tracked_cup_is_an_object_of_its_own(class_id):
    person, held = (60.0, 20.0, 160.0, 220.0), (90.0, 100.0, 115.0, 130.0)
    robot = Robot()
    robot.track("c", "cup", held, "cup" if class_id else "")
    for _ in range(4):
        robot.see({"person": person, "cup": held}, [cup(person, 0.9, class_id)])
    assert robot.on == {"c": "cup", "object_2": "person"}


def test_a_neighbour_that_overlaps_is_an_object_of_its_own():
    robot = Robot()
    robot.track("a", "left", at(100))
    for _ in range(4):
        robot.see({"left": at(100), "right": at(128)}, [cup(at(100)), cup(at(128))])
    assert robot.on == {"a": "left", "object_2": "right"}


def test_a_fast_thing_is_not_created_again_while_its_image_is_old():
    """The known objects are one image old: their box lags by most of its width."""
    associator = Associator("track_all", 0.5, 8)
    for number in range(1, 8):
        known = [tracked("a", at(20 + 34 * (number - 1)), stamp_s=(number - 1) * 0.5)]
        assert associator.take([cup(at(20 + 34 * number))], known, number * 0.5) == []
    assert associator.counts["matched"] == 7
