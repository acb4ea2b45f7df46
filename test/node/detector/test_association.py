# SPDX-License-Identifier: Apache-2.0
"""Association over sequences of messages: invalid detections, resets, and invariants of every sequence."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from detector_scenes import (
    CUP,
    LOST,
    OCCLUDED,
    PERIOD_S,
    SIZE_HW,
    TRACKING,
    Robot,
    cup,
    ellipse,
    iou,
    run,
    shaken,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_ros.engine import ObjectState
from sam2_ros.node.detector.association import Associator
from sam2_ros.node.detector.detections import Detection, KnownObject
from sam2_ros.node.detector.overlap import Box


@pytest.mark.parametrize(
    "detection",
    [
        Detection(CUP, 0.49, "cup"),
        Detection(CUP, math.nan, "cup"),
        Detection(CUP, 1.5, "cup"),
        Detection((math.nan, 0, 10, 10), 0.9, "cup"),
        Detection((0, 0, math.inf, 10), 0.9, "cup"),
        Detection((10, 10, 10, 20), 0.9, "cup"),
        Detection((30, 10, 10, 20), 0.9, "cup"),
        Detection((0, 0, 1e300, 10), 0.9, "cup"),
    ],
)
def test_invalid_detections_are_ignored_and_counted(detection):
    associator = Associator("track_all", 0.5, 8)
    assert run(associator, [[detection]] * 4, []) == [[]] * 4
    assert associator.counts == {"matched": 0, "reseeded": 0, "created": 0, "ignored": 4}


def test_the_smallest_score_may_change_while_it_runs():
    associator = Associator("track_all", 0.5, 8)
    assert not any(run(associator, [[cup(CUP, 0.4)]] * 3, []))
    associator.min_score = 0.3
    assert [len(prompts) for prompts in run(associator, [[cup(CUP, 0.4)]] * 2, [], start_s=2.0)] == [0, 1]


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"'all'; expected one of reseed, track_all"):
        Associator("all", 0.5, 8)


def test_after_a_reset_nothing_counts_as_seen():
    associator = Associator("track_all", 0.5, 8)
    run(associator, [[cup(CUP)]], [])
    associator.reset()
    assert [len(prompts) for prompts in run(associator, [[cup(CUP)]] * 2, [], start_s=0.0)] == [0, 1]
    associator.reset()  # the object of that prompt was removed with all others
    assert [len(prompts) for prompts in run(associator, [[cup(CUP)]] * 2, [], start_s=0.2)] == [0, 1]
    assert associator.counts["created"] == 2


coordinate = st.integers(0, 300)
extent = st.integers(-2, 120)
box_strategy = st.tuples(coordinate, coordinate, extent, extent).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)
real_box = box_strategy.filter(lambda b: b[2] > b[0] and b[3] > b[1])
class_name = st.sampled_from(["", "cup", "bowl"])
detection = st.builds(Detection, box_strategy, st.sampled_from([0.2, 0.5, 0.7, 0.9, math.nan]), class_name)
places = st.lists(real_box, min_size=1, max_size=4)


def known_objects(draw, ids: list[str], stamp_s: float) -> list[KnownObject]:
    objects = []
    for object_id in ids:
        state = draw(st.sampled_from(list(ObjectState)))
        box = draw(st.one_of(st.none(), real_box))
        last_s = None if box is None else stamp_s - draw(st.sampled_from([0.0, 0.3, 5.0]))
        mask = ellipse(box) if state == TRACKING and box is not None and draw(st.booleans()) else None
        objects.append(KnownObject(object_id, draw(class_name), state, box, mask, last_s))
    return objects


@st.composite
def sequences(draw):
    """Messages that repeat and mix a few boxes, so that some candidates are confirmed."""
    usual = draw(st.lists(detection, min_size=1, max_size=5))
    messages = []
    for number in range(draw(st.integers(2, 7))):
        found = draw(st.lists(st.one_of(st.sampled_from(usual), detection), max_size=8))
        ids = [f"o{n}" for n in range(draw(st.integers(0, 4)))]
        messages.append((found, known_objects(draw, ids, number * PERIOD_S), number * PERIOD_S))
    return messages


@pytest.mark.long
@given(
    sequences(),
    st.sampled_from(["reseed", "track_all"]),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_invariants_of_every_sequence(messages, mode, max_objects, chance):
    one, other = Associator(mode, 0.5, max_objects), Associator(mode, 0.5, max_objects)
    given_so_far = 0
    for found, known, stamp_s in messages:
        prompts = one.take(found, known, stamp_s)
        states = {each.id: each.state for each in known}
        named = [prompt.id for prompt in prompts if prompt.id]
        new = [prompt for prompt in prompts if not prompt.id]
        assert all(states[object_id] in (OCCLUDED, LOST) for object_id in named)
        assert len(set(named)) == len(named)
        assert not new or (mode == "track_all" and len(known) + len(new) <= max_objects)
        assert all(prompt.score >= 0.5 and prompt.box in [each.box for each in found] for prompt in prompts)
        for a, b in itertools.combinations(prompts, 2):
            assert iou(a.box, b.box) < 0.5
        given_so_far += len(found)
        assert sum(one.counts.values()) == given_so_far

        shuffled, mixed = list(found), list(known)
        chance.shuffle(shuffled)
        chance.shuffle(mixed)
        assert other.take(shuffled, mixed, stamp_s) == prompts


@given(places, st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_a_robot_never_has_more_objects_than_it_may_nor_two_on_one_thing(boxes, seed, latency, max_objects):
    """Separate objects, and a detector that flickers, jitters and confuses classes."""
    chance = random.Random(seed)
    things: dict[str, Box] = {}
    height, width = SIZE_HW
    # Masks and boxes end at the image border.
    boxes = [(x0, y0, min(x1, float(width)), min(y1, float(height))) for x0, y0, x1, y1 in boxes]
    for number, box in enumerate(boxes):
        centre_apart = all(
            abs(box[0] + box[2] - other[0] - other[2]) / 2 > 130
            or abs(box[1] + box[3] - other[1] - other[3]) / 2 > 130
            for other in things.values()
        )
        if centre_apart and min(box[2] - box[0], box[3] - box[1]) >= 8:
            things[f"thing_{number}"] = box
    robot = Robot(latency=latency, max_objects=max_objects)
    for _ in range(40):
        found = [
            cup(shaken(box, 0.1, chance), chance.uniform(0.4, 1.0), chance.choice(("cup", "cup", "bowl")))
            for box in things.values()
            if chance.random() < 0.7
        ]
        robot.see(things, found)
        assert len(robot.objects) <= max_objects
        assert len(set(robot.on.values())) == len(robot.on)
