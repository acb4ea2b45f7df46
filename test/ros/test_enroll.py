# SPDX-License-Identifier: Apache-2.0
"""~/enroll on a live node: an object learnt from pictures is found without a prompt, here and on another camera."""

from __future__ import annotations

import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.srv", reason="needs sam2_ros_msgs, built and sourced")

from sam2_ros_msgs.msg import TrackedObject
from sam2_ros_msgs.srv import Enroll, LoadState
from sensor_msgs.msg import Image

from sam2_ros.state.state_file import read_state

from .conftest import BOX, DISC, scene

NOTHING = np.full_like(scene(), 70)


def picture(pixels: np.ndarray) -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8", step=pixels.strides[0])
    message.data = array.array("B", pixels.tobytes())
    return message


def enroll(robot, *prompts, images=(), **fields):
    request = Enroll.Request(images=list(images), prompts=list(prompts), **fields)
    return robot.call(Enroll, "enroll", request)


def until_found(robot, id, image):
    def found():
        message = robot.process(image)
        return next((o for o in message.objects if o.id == id and o.state == TrackedObject.TRACKING), None)

    return robot.wait_for(f"{id} to be found", found)


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot()
    robot.listen_to_outputs()
    return robot


def test_an_object_of_pictures_is_found_wherever_it_is(robot):
    box = robot.prompt(box=BOX)
    reply = enroll(robot, box, images=[picture(scene())], id="cup", class_id="mug")
    assert (reply.success, reply.id) == (True, "cup"), reply.message
    (pending,) = robot.process(NOTHING).objects
    assert (pending.id, pending.class_id, pending.state, pending.area) == (
        "cup",
        "mug",
        TrackedObject.PENDING,
        0,
    )
    found = until_found(robot, "cup", scene(30))
    assert found.label == pending.label
    assert abs(found.roi.x_offset - (BOX[0] + 30)) < 6
    assert abs(found.roi.width - 40) < 8
    robot.remove()


def test_without_pictures_the_newest_camera_image_is_used(robot):
    robot.process()
    reply = enroll(robot, robot.prompt(points=[(*DISC, True)]))
    assert reply.success, reply.message
    assert reply.id.startswith("object_")
    assert abs(until_found(robot, reply.id, scene()).centroid.x - DISC[0]) < 4
    robot.remove()


def test_an_object_is_handed_over_to_another_camera_by_its_file(robot, make_robot, tmp_path):
    path = tmp_path / "cup.safetensors"
    pictures = [picture(scene()), picture(scene(10))]
    boxes = [robot.prompt(box=(BOX[0] + shift, BOX[1], BOX[2] + shift, BOX[3])) for shift in (0.0, 10.0)]
    reply = enroll(robot, *boxes, images=pictures, id="cup", path=str(path))
    assert reply.success, reply.message
    assert read_state(path).ids == ["cup"]
    robot.remove()
    other = make_robot(name="wrist")
    other.listen_to_outputs()
    other.add(other.prompt("mine", points=[(*DISC, True)]))
    other.process()
    reply = other.call(LoadState, "load_state", LoadState.Request(path=str(path), merge=True))
    assert list(reply.ids) == ["cup"], reply.message
    mirrored = np.ascontiguousarray(scene()[:, ::-1])
    found = until_found(other, "cup", mirrored)
    assert abs(found.centroid.x - (160 - 50)) < 4
    assert found.label == 2  # its label in the file is another camera's


def test_what_cannot_be_enrolled_changes_nothing(robot, tmp_path):
    box, path = robot.prompt(box=BOX), tmp_path / "cup.safetensors"
    broken = picture(scene())
    broken.data = broken.data[:100]
    for reply, words in (
        (enroll(robot, id="cup"), "1 images and 0 prompts"),
        (enroll(robot, box, images=[picture(scene())] * 2, id="cup"), "2 images and 1 prompts"),
        (enroll(robot, box, images=[broken], id="cup", path=str(path)), "bytes"),
        (enroll(robot, robot.prompt(), images=[picture(scene())], id="cup"), "prompt"),
        (enroll(robot, box, images=[picture(scene())], id="cup", path="/proc/cup"), "cannot be written"),
        (enroll(robot, box, images=[picture(scene())], id="c" * 200), "max_id_bytes"),
    ):
        assert not reply.success
        assert words in reply.message, reply.message
        assert reply.id == ""
    assert not path.exists()
    assert robot.process().objects == []
