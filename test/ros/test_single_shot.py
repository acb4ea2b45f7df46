# SPDX-License-Identifier: Apache-2.0
"""~/segment on a live graph: of the request's image or the camera's, by prompts or everything, beside tracking."""

import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from sam2_ros_msgs.srv import Segment
from sensor_msgs.msg import Image

from sam2_ros.media.messages.tracked_object import read_objects

from .conftest import BOX, DISC, HEIGHT_PX, START_TIMEOUT_S, WIDTH_PX, scene, stamp_ns

BOX_TRUTH = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
BOX_TRUTH[30:70, 30:70] = True


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot(max_objects=2)
    robot.wait_for("the node", lambda: robot.state() == "active", START_TIMEOUT_S)
    return robot


def segment(robot, image=None, prompts=(), multimask=False):
    request = Segment.Request(prompts=list(prompts), multimask=multimask)
    if image is not None:
        request.image = image
    return robot.call(Segment, "segment", request, START_TIMEOUT_S)


def message_of(image: np.ndarray, encoding: str = "rgb8", **fields) -> Image:
    message = Image(height=image.shape[0], width=image.shape[1], encoding=encoding, step=image.strides[0])
    message.data = array.array("B", image.tobytes())
    message.header.frame_id = "photo"
    message.header.stamp.sec = 77
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def test_without_any_image_the_reply_says_what_is_missing(robot):
    reply = segment(robot, prompts=[robot.prompt("cup", box=BOX)])
    assert not reply.success
    assert "the request has no image, and no camera image has come yet" in reply.message
    assert reply.result.objects == []


def test_a_sent_image_is_segmented_and_nothing_is_tracked(robot):
    robot.listen_to_outputs()
    reply = segment(
        robot,
        message_of(scene()),
        [robot.prompt("disc", points=[(*DISC, True)]), robot.prompt("box", box=BOX, class_id="brick")],
    )
    assert reply.success, reply.message
    assert (reply.result.header.frame_id, reply.result.header.stamp.sec) == ("photo", 77)
    assert (reply.result.image_height, reply.result.image_width) == (HEIGHT_PX, WIDTH_PX)
    objects = {obj.id: obj for obj in reply.result.objects}
    assert set(objects) == {"disc", "box"}
    assert objects["box"].class_id == "brick"
    assert [obj.label for obj in reply.result.objects] == [1, 2]
    assert reply.result.objects[0].score >= reply.result.objects[1].score
    masks = {obj.id: obj.mask for obj in read_objects(reply.result)}
    assert iou(masks["box"], BOX_TRUTH) > 0.7
    assert masks["disc"][80, 110]
    assert not masks["disc"][10, 10]
    assert robot.process().objects == []


def test_the_cameras_newest_image_serves_when_none_is_sent(robot):
    newest = stamp_ns(robot.process())
    reply = segment(robot, prompts=[robot.prompt("box", box=BOX)])
    assert reply.success, reply.message
    assert stamp_ns(reply.result) == newest
    assert iou(read_objects(reply.result)[0].mask, BOX_TRUTH) > 0.7


def test_three_candidates_share_the_id_of_their_prompt(robot):
    reply = segment(robot, message_of(scene()), [robot.prompt("", points=[(*DISC, True)])], multimask=True)
    assert reply.success, reply.message
    assert [obj.id for obj in reply.result.objects] == ["#1"] * 3
    scores = [obj.score for obj in reply.result.objects]
    assert scores == sorted(scores, reverse=True)
    assert [obj.label for obj in reply.result.objects] == [1, 2, 3]


def test_a_mask_is_a_prompt_too(robot):
    mask = Image(height=HEIGHT_PX, width=WIDTH_PX, step=WIDTH_PX, encoding="mono8")
    mask.data = array.array("B", (BOX_TRUTH * 255).astype(np.uint8).tobytes())
    reply = segment(robot, message_of(scene()), [robot.prompt("box", mask=mask, box=BOX)])
    assert reply.success, reply.message
    assert iou(read_objects(reply.result)[0].mask, BOX_TRUTH) > 0.7


def test_everything_is_segmented_while_tracking_goes_on(robot):
    robot.add(robot.prompt("box", box=BOX))
    label = robot.process().objects[0].label
    client = robot.client(Segment, "segment")
    robot.wait_for("the service", client.service_is_ready)
    future = client.call_async(Segment.Request(image=message_of(scene())))
    meanwhile = 0
    while not future.done():
        assert [(obj.id, obj.label) for obj in robot.process().objects] == [("box", label)]
        meanwhile += 1
    reply = future.result()
    assert reply.success, reply.message
    assert meanwhile >= 2
    found = read_objects(reply.result)
    assert len(found) >= 1
    assert len({obj.id for obj in found}) == len(found)
    assert max(iou(obj.mask, BOX_TRUTH) for obj in found) > 0.5
    robot.reset()


@pytest.mark.parametrize(
    ("image", "prompt", "said"),
    [
        ({"encoding": "rainbow"}, {"box": BOX}, "encoding 'rainbow' is not supported"),
        ({"height": 4000}, {"box": BOX}, "truncated"),
        ({}, {"box": (1.0, 2.0, 3.0)}, "'bad': box of 3 numbers"),
        ({}, {"points": [(5000, 3, True)]}, "'bad': point (5000, 3) is outside the image"),
        ({}, {}, "'bad': has no points, no box and no mask"),
    ],
)
def test_what_cannot_be_used_is_named_and_the_result_is_empty(robot, image, prompt, said):
    reply = segment(robot, message_of(scene(), **image), [robot.prompt("bad", **prompt)])
    assert not reply.success
    assert said in reply.message
    assert reply.result.objects == []
