# SPDX-License-Identifier: Apache-2.0
"""Clicks in pixels from rqt-like tools, and a mask topic per object, on a live graph."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from geometry_msgs.msg import Point, PointStamped
from sensor_msgs.msg import Image

from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.media.ros_image import as_uint8

from .conftest import BOX, DISC, HEIGHT_PX, WIDTH_PX, scene, stamp_ns

CENTRE = (50.0, 50.0)  # of the red box in scene()


@pytest.fixture(scope="module")
def node(make_robot):
    robot = make_robot(max_objects=4, mask_topics=["cup", "left-cup", "2nd cup"])
    robot.listen_to_outputs()
    return robot


@pytest.fixture
def robot(node):
    node.set_parameter("active_id", "")
    node.reset()
    node.process()
    return node


def objects_after(robot, condition):
    """The objects once a click, which has no reply, has taken effect."""
    found = {}

    def shown():
        found.update({obj.id: obj for obj in robot.process().objects})
        return condition(found)

    robot.wait_for("the effect of the click", shown)
    return found


def test_a_clicked_pixel_makes_a_new_object_each_time(robot):
    clicks = robot.publisher(Point, "/sam2/clicked_pixel")
    clicks.publish(Point(x=CENTRE[0], y=CENTRE[1]))
    first = objects_after(robot, lambda found: len(found) == 1)
    clicks.publish(Point(x=DISC[0], y=DISC[1]))
    second = objects_after(robot, lambda found: len(found) == 2)
    assert first.keys() < second.keys()
    message = robot.process()
    on_the_box, on_the_disc = read_objects(message)
    assert on_the_box.mask[50, 50]
    assert on_the_disc.mask[80, 110]


def test_a_click_refines_the_active_object_and_keeps_its_label(robot):
    robot.add(robot.prompt("cup", box=BOX, class_id="mug"))
    (before,) = robot.process().objects
    assert robot.set_parameter("active_id", "cup").successful
    accepted = int(robot.diagnostics()["prompts_applied"])
    robot.publisher(Point, "/sam2/clicked_pixel").publish(Point(x=CENTRE[0], y=CENTRE[1]))
    robot.wait_for(
        "the click", lambda: robot.process() and int(robot.diagnostics()["prompts_applied"]) > accepted
    )
    (after,) = robot.process().objects
    assert (after.id, after.label, after.class_id) == ("cup", before.label, "mug")


def test_a_clicked_point_in_the_images_frame_is_in_pixels_for_the_image_of_its_stamp(robot):
    newest = stamp_ns(robot.process())
    clicks = robot.publisher(PointStamped, "/sam2/clicked_point")
    click = PointStamped(point=Point(x=CENTRE[0], y=CENTRE[1]))
    click.header.frame_id = "camera"
    click.header.stamp.sec, click.header.stamp.nanosec = divmod(newest, 1_000_000_000)
    clicks.publish(click)
    assert len(objects_after(robot, lambda found: found)) == 1
    click.point.x = 4000.0
    clicks.publish(click)
    robot.wait_for("the rejection", lambda: "(4000, 50) is outside the image" in robot.log())
    assert len(robot.process().objects) == 1


@pytest.mark.parametrize(("name", "topic"), [("left-cup", "left_cup"), ("2nd cup", "id_2nd_cup")])
def test_a_mask_topic_has_the_full_mask_of_its_object_under_the_images_header(robot, name, topic):
    masks = robot.listen(Image, f"/sam2/mask/{topic}")
    robot.add(robot.prompt(name, box=BOX), robot.prompt("other", points=[(*DISC, True)]))
    message = robot.process()
    stamp = stamp_ns(message)
    mask = robot.wait_for(
        "the mask", lambda: robot.process() and next((m for m in masks if stamp_ns(m) >= stamp), None)
    )
    assert (mask.height, mask.width, mask.encoding, mask.step) == (HEIGHT_PX, WIDTH_PX, "mono8", WIDTH_PX)
    assert mask.header.frame_id == "camera"
    same = next(m for m in robot.received["/sam2/objects"] if stamp_ns(m) == stamp_ns(mask))
    expected = next(obj.mask for obj in read_objects(same) if obj.id == name)
    assert np.array_equal(as_uint8(mask.data).reshape(HEIGHT_PX, WIDTH_PX) == 255, expected)
    assert expected.any()


def test_a_mask_topic_of_an_object_that_is_not_there_is_silent(robot):
    masks = robot.listen(Image, "/sam2/mask/cup")
    robot.add(robot.prompt("other", box=BOX))
    masks.clear()
    stamps = [stamp_ns(robot.process(scene())) for _ in range(3)]
    robot.add(robot.prompt("cup", box=BOX))
    robot.wait_for("the mask of the object that came", lambda: robot.process() and masks)
    assert min(stamp_ns(m) for m in masks) > max(stamps)
