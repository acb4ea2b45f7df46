# SPDX-License-Identifier: Apache-2.0
"""~/status: the content of ~/objects of the same image, in a message that a person can read."""

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from builtin_interfaces.msg import Time
from depth_scenes import frame, tracked
from geometry_msgs.msg import Point
from rclpy.serialization import deserialize_message, serialize_message
from sam2_ros_msgs.msg import ObjectStatusArray
from sam2_ros_msgs.srv import ObjectCloud
from std_msgs.msg import Header

from sam2_ros.node.outputs.object_messages import objects_message, status_message
from sam2_ros.node.spatial.location import Location, ObjectLocations

from .conftest import BOX, DISC, HEIGHT_PX, WIDTH_PX, stamp_ns

SAME = (
    "id",
    "label",
    "class_id",
    "state",
    "score",
    "presence",
    "age",
    "roi",
    "has_position",
    "size",
    "velocity",
)
HEADER = Header(stamp=Time(sec=7, nanosec=8), frame_id="camera")


def through_the_wire(message):
    """The message serialized and deserialized, as a subscriber gets it."""
    return deserialize_message(serialize_message(message), type(message))


def assert_agree(status, objects):
    """Both messages are of one image and agree for every object."""
    assert status.header == objects.header
    assert status.position_frame_id == objects.position_frame_id
    assert len(status.objects) == len(objects.objects)
    for light, full in zip(status.objects, objects.objects, strict=True):
        for name in SAME:
            assert getattr(light, name) == getattr(full, name), name
        assert light.pose.position == full.position
        turned = light.pose.orientation  # no axes were asked for, or there is no position
        assert (turned.x, turned.y, turned.z, turned.w) == (0.0, 0.0, 0.0, 1.0)
        assert math.isnan(light.position_stddev)


def test_a_field_of_the_wrong_type_is_an_error_here_and_in_the_nodes_that_tests_start():
    with pytest.raises(AssertionError, match="must be of type 'float'"):
        Point(x=1)


def test_a_located_object_has_its_pose_and_a_hidden_one_none():
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    result = frame(tracked(mask, "cup", 3), tracked(np.zeros((4, 6), bool), "hidden", 4))
    cup = Location((1.0, 2.0, 3.0), (0.1, 0.2, 0.0), (0.0, 0.3, 0.4), np.zeros((1, 3)), np.zeros((1, 2), int))
    spatial = ObjectLocations("base", {"cup": cup}, "")
    for known in (spatial, None):
        status, objects = status_message(result, HEADER, known), objects_message(result, HEADER, known)
        assert_agree(through_the_wire(status), through_the_wire(objects))
    first, second = through_the_wire(status_message(result, HEADER, spatial)).objects
    assert (first.has_position, second.has_position) == (True, False)
    assert (first.pose.position.x, first.pose.position.y, first.pose.position.z) == (1.0, 2.0, 3.0)
    assert (first.velocity.y, first.size.y) == (0.3, 0.2)
    assert (first.roi.x_offset, first.roi.y_offset, first.roi.width, first.roi.height) == (2, 1, 3, 2)
    assert (second.roi.width, second.pose.position.x) == (0, 0.0)


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot(max_objects=3, lost_after=0.2)
    robot.listen_to_outputs()
    return robot


def test_every_image_has_a_status_that_agrees_with_its_objects(robot):
    statuses = robot.listen(ObjectStatusArray, "/sam2/status")
    robot.add(robot.prompt("box", box=BOX, class_id="brick"), robot.prompt("disc", points=[(*DISC, True)]))
    robot.wait_for("the first status", lambda: robot.process() and statuses)
    statuses.clear()
    nothing = np.full((HEIGHT_PX, WIDTH_PX, 3), 70, np.uint8)
    messages = [robot.process(image) for image in (None, None, *[nothing] * 12)]
    robot.wait_for("a status of every image", lambda: len(statuses) == len(messages))
    for status, objects in zip(statuses, messages, strict=True):
        assert_agree(status, objects)
    assert [obj.state for obj in statuses[0].objects] == [1, 1]
    assert {obj.state for obj in statuses[-1].objects} == {3}  # hidden and lost ones are listed, too
    # No pixels: two objects in a few hundred bytes, whatever the size of the image.
    assert len(serialize_message(statuses[0])) < 600


def test_a_status_is_made_only_with_subscribers_and_works_as_the_only_output(robot):
    robot.reset()
    statuses = robot.listen(ObjectStatusArray, "/sam2/status")
    robot.add(robot.prompt("box", box=BOX))
    robot.wait_for("the box", lambda: robot.process() and statuses and statuses[-1].objects)
    for topic in ("/sam2/objects", "/sam2/label_image"):
        robot.deafen(topic)

    def published(image_count: int) -> int:
        before = int(robot.diagnostics()["messages_published"])
        for _ in range(image_count):
            stamp = robot.send_image(nothing_moves)
            robot.wait_for("its status", lambda stamp=stamp: stamp_ns(statuses[-1]) == stamp)
        return int(robot.diagnostics()["messages_published"]) - before

    nothing_moves = np.full((HEIGHT_PX, WIDTH_PX, 3), 70, np.uint8)
    robot.wait_for(
        "one message an image", lambda: published(2) == 2
    )  # once the node knows that the other outputs have no subscribers
    robot.deafen("/sam2/status")

    def silent() -> bool:
        before = robot.diagnostics()
        robot.send_image(nothing_moves)
        after = robot.diagnostics()
        done = int(after["frames_processed"]) - int(before["frames_processed"])
        return done == 1 and after["messages_published"] == before["messages_published"]

    robot.wait_for("an image without a message", silent)


def test_a_whole_number_is_enough_when_a_float_is_set_at_run_time(robot):
    assert robot.set_parameter("camera_timeout", 3).successful
    refused = robot.set_parameter("camera_timeout", "soon")
    assert not refused.successful
    assert "got the text 'soon', expected a number" in refused.reason


def test_a_cloud_without_depth_is_refused_with_the_remedy(robot):
    reply = robot.call(ObjectCloud, "cloud", ObjectCloud.Request(id="box"))
    assert not reply.success
    assert reply.message == "no cloud of 'box': use_3d is false: set it to true, and configure the node again"
