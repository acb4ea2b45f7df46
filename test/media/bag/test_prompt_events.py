# SPDX-License-Identifier: Apache-2.0
"""Prompts of recorded ~/prompt_events, assigned to the images of a camera's bag."""

import numpy as np
import pytest

from sam2_ros.engine import Prompt
from sam2_ros.errors import UserError
from sam2_ros.media.bag.prompt_events import EVENT_TYPE, recorded_prompts
from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.media.bag.timeline import read_timeline
from sam2_ros.media.messages.message_types import header, standard_types
from sam2_ros.media.messages.prompt import fill_prompt
from sam2_ros.media.ros_image import mono_to_image_fields

APPLIED, LATE, REJECTED, REMOVED = range(4)
TYPES = standard_types()
IMAGE = np.full((8, 10, 3), 90, np.uint8)
FIRST_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000


def message(name, **fields):
    return TYPES.types[f"sam2_ros_msgs/msg/{name}"](**fields)


def event(outcome, prompt, image):
    """An event of one prompt on the image of this number."""
    at = header(TYPES, FIRST_NS + image * STEP_NS, "camera")
    no_mask = mono_to_image_fields(np.zeros((0, 0), np.uint8))._asdict()
    empty = message(
        "Prompt",
        header=at,
        id="",
        class_id="",
        points=[],
        box=np.zeros(0, np.float32),
        mask=TYPES.types["sensor_msgs/msg/Image"](header=at, **no_mask),
        replace=False,
    )
    filled = fill_prompt(empty, prompt, TYPES.types["sam2_ros_msgs/msg/PromptPoint"])
    filled.box, filled.mask.data = np.array(filled.box, np.float32), np.array(filled.mask.data, np.uint8)
    return message(
        "PromptEvent",
        header=at,
        id=prompt.id,
        source="topic",
        prompt=filled,
        outcome=outcome,
        reason="",
    )


@pytest.fixture
def camera(tmp_path):
    with BagWriter(tmp_path / "camera") as writer:
        for number in range(4):
            writer.write_image("/camera/image_raw", FIRST_NS + number * STEP_NS, "camera", IMAGE)
    return read_timeline(tmp_path / "camera")


@pytest.fixture
def record(tmp_path):
    def write(*events, topics=("/sam2/prompt_events",)):
        with BagWriter(tmp_path / "events") as writer:
            for topic in topics:
                for each in events:
                    writer.write_raw(topic, EVENT_TYPE, 1, each)
        return tmp_path / "events"

    return write


def test_applied_and_late_prompts_come_back_on_their_images_with_everything_they_had(camera, record):
    mask = np.zeros((8, 10), bool)
    mask[2:5, 3:7] = True
    full = Prompt("cup", np.array([[3.0, 4.0]]), np.array([0]), (1.0, 2.0, 5.0, 6.0), mask, "brick", True)
    bag = record(
        event(APPLIED, full, 2),
        event(LATE, Prompt("can", box=(0.0, 0.0, 3.0, 3.0)), 1),
        event(REJECTED, Prompt("bad", box=(0.0, 0.0, 3.0, 3.0)), 1),
    )
    by_image, notes = recorded_prompts(bag, camera)
    assert {index: [prompt.id for prompt in prompts] for index, prompts in by_image.items()} == {
        1: ["can"],
        2: ["cup"],
    }
    (cup,) = by_image[2]
    assert (cup.box, cup.class_id, cup.replace) == ((1.0, 2.0, 5.0, 6.0), "brick", True)
    assert (cup.points.tolist(), cup.labels.tolist()) == ([[3.0, 4.0]], [0])
    assert np.array_equal(cup.mask, mask)
    assert notes == []


def test_a_prompt_after_a_removal_starts_the_object_anew_and_a_note_says_what_is_not_replayed(camera, record):
    box = Prompt("cup", box=(0.0, 0.0, 3.0, 3.0))
    bag = record(
        event(APPLIED, box, 0),
        event(REMOVED, Prompt("cup"), 1),
        event(APPLIED, box, 2),
        event(APPLIED, box, 3),
    )
    by_image, notes = recorded_prompts(bag, camera)
    assert [by_image[index][0].replace for index in (0, 2, 3)] == [False, True, False]
    assert len(notes) == 1
    assert notes[0].startswith("1 objects were removed while")


def test_prompts_for_one_object_on_one_image_are_merged(camera, record):
    clicks = [Prompt("cup", np.array([[float(x), 1.0]]), np.array([1])) for x in (1, 2)]
    by_image, _ = recorded_prompts(record(*[event(APPLIED, click, 1) for click in clicks]), camera)
    (prompt,) = by_image[1]
    assert prompt.points.tolist() == [[1.0, 1.0], [2.0, 1.0]]


def test_events_of_other_images_are_counted_or_an_error_if_there_are_no_others(camera, record):
    box = Prompt("cup", box=(0.0, 0.0, 3.0, 3.0))
    by_image, notes = recorded_prompts(record(event(APPLIED, box, 0), event(APPLIED, box, 9)), camera)
    assert (list(by_image), notes[0].partition(" of ")[0]) == ([0], "1 prompts")


def test_a_bag_without_a_usable_prompt_is_an_error(camera, record):
    bag = record(event(APPLIED, Prompt("cup", box=(0.0, 0.0, 3.0, 3.0)), 9))
    with pytest.raises(UserError, match=r"has no applied prompt on an image .* \(1 on other images\)"):
        recorded_prompts(bag, camera)


def test_two_topics_of_events_or_none_are_an_error(camera, record):
    box = Prompt("cup", box=(0.0, 0.0, 3.0, 3.0))
    with pytest.raises(UserError, match="has 0 topics of sam2_ros_msgs/msg/PromptEvent"):
        recorded_prompts(camera.bag, camera)
    with pytest.raises(UserError, match="has 2 topics"):
        recorded_prompts(
            record(event(APPLIED, box, 0), topics=("/a/prompt_events", "/b/prompt_events")), camera
        )
