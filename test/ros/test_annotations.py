# SPDX-License-Identifier: Apache-2.0
"""Foxglove's annotations: outlines equal the masks; names and colours are those of the other outputs."""

from __future__ import annotations

import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from ros_domains import next_domain

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

import rclpy
from builtin_interfaces.msg import Time
from depth_scenes import HEIGHT_PX, WIDTH_PX, frame, tracked
from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from sam2_ros.engine import ObjectState
from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.media.overlay import colour_of, draw_overlay
from sam2_ros.node.diagnostics import Statistics
from sam2_ros.node.outputs.annotations import MAX_PARTS, annotations_message, outlines
from sam2_ros.node.outputs.publish import Outputs
from sam2_ros.node.parameters.params import NodeParams

from .conftest import BOX, scene
from .conftest import HEIGHT_PX as IMAGE_HEIGHT_PX
from .conftest import WIDTH_PX as IMAGE_WIDTH_PX

HEADER = Header(stamp=Time(sec=7, nanosec=8), frame_id="camera")
ROWS, COLUMNS = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
NOTHING = np.zeros((HEIGHT_PX, WIDTH_PX), bool)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    return (COLUMNS - x) ** 2 + (ROWS - y) ** 2 < radius**2


RING = disc(100, 90, 60) & ~disc(110, 90, 25)
TWO_PARTS = disc(230, 60, 30) | disc(280, 180, 20)


def filled(polygons: list[np.ndarray], height_px: int, width_px: int) -> np.ndarray:
    """The mask that polygons enclose, holes left out."""
    image = np.zeros((height_px, width_px), np.uint8)
    cv2.fillPoly(image, [np.rint(each).astype(np.int32) for each in polygons], 1)
    return image.astype(bool)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def polygon(annotation) -> np.ndarray:
    """[n, 2] in the pixels of OpenCV, whose first one has its middle at 0."""
    return np.array([(point.x, point.y) for point in annotation.points]) - 0.5


def rgb(colour) -> tuple[int, int, int]:
    return tuple(round(channel * 255) for channel in (colour.r, colour.g, colour.b))


@pytest.mark.parametrize("mask", [RING, TWO_PARTS], ids=["ring", "two parts"])
def test_the_outlines_of_a_mask_enclose_it_with_few_corners(mask):
    found = outlines(mask, tracked(mask).box)
    assert len(found) == 2
    assert iou(filled(found, HEIGHT_PX, WIDTH_PX), mask) > 0.97
    assert sum(map(len, found)) < 60


def test_a_torn_mask_has_a_bounded_number_of_outlines_and_a_single_pixel_has_one():
    torn = RING & (np.random.default_rng(0).random(RING.shape) > 0.3)
    assert len(outlines(torn, tracked(torn).box)) <= MAX_PARTS
    pixel = NOTHING.copy()
    pixel[5, 7] = True
    assert [each.tolist() for each in outlines(pixel, tracked(pixel).box)] == [[[7, 5]]]


def test_an_object_has_outlines_box_and_name_in_its_colour_and_a_hidden_one_its_name():
    foxglove = pytest.importorskip("foxglove_msgs.msg", reason="needs foxglove_msgs, which has no wheel")
    hidden = replace(tracked(NOTHING, "ball", 3, presence=-4.0), state=ObjectState.LOST, age_s=2.34)
    pending = replace(tracked(NOTHING, "new", 4, presence=-4.0), state=ObjectState.PENDING)
    result = frame(tracked(RING, "cup", 1), tracked(TWO_PARTS, "pair", 300), hidden, pending)
    sent = annotations_message(result, HEADER)
    message = deserialize_message(serialize_message(sent), foxglove.ImageAnnotations)
    assert message == sent
    assert all(each.timestamp == HEADER.stamp for each in [*message.points, *message.texts])
    assert {each.type for each in message.points} == {foxglove.PointsAnnotation.LINE_LOOP}
    colours = [rgb(each.outline_color) for each in message.points]
    assert colours == [colour_of(1)] * 3 + [colour_of(300)] * 3
    ring, box = message.points[:2], message.points[2]
    assert iou(filled([polygon(each) for each in ring], HEIGHT_PX, WIDTH_PX), RING) > 0.97
    x0, y0, x1, y1 = result.objects[0].box
    assert [(p.x, p.y) for p in box.points] == [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    texts = {each.text: each for each in message.texts}
    assert list(texts) == ["cup TRACKING 0.90", "pair TRACKING 0.90", "new PENDING", "ball LOST 2.3 s"]
    assert rgb(texts["ball LOST 2.3 s"].text_color) == colour_of(3)
    assert texts["ball LOST 2.3 s"].position.y < texts["new PENDING"].position.y < HEIGHT_PX
    assert (texts["cup TRACKING 0.90"].position.x, texts["cup TRACKING 0.90"].position.y) == (x0, y0)
    drawn = draw_overlay(np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8), result)
    assert (drawn[y1 - 1, x0 : x0 + 3] == colour_of(1)).all()  # the corner of its box


def test_without_foxglove_msgs_one_line_says_so_and_the_other_topics_are_there(monkeypatch, capfd):
    for module in ("foxglove_msgs", "foxglove_msgs.msg"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    try:
        node = LifecycleNode("sam2", context=context)
        outputs = Outputs(node, Statistics(), NodeParams())
        topics = {publisher.topic_name for publisher in node.publishers}
        assert {"/sam2/objects", "/sam2/label_image"} <= topics
        assert "/sam2/annotations" not in topics
        outputs.publish_masks(
            frame(tracked(RING)), np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8), HEADER, False
        )
        outputs.destroy()
    finally:
        context.try_shutdown()
    said = [line for line in capfd.readouterr().err.splitlines() if "annotations" in line]
    assert len(said) == 1
    assert "needs the ROS package foxglove_msgs" in said[0]
    assert "sudo apt install ros-" in said[0]


def test_on_a_live_graph_the_annotations_are_those_of_the_image_with_their_stamp(make_robot):
    foxglove = pytest.importorskip("foxglove_msgs.msg", reason="needs foxglove_msgs, which has no wheel")
    robot = make_robot()
    robot.listen_to_outputs()
    robot.add(robot.prompt("cup", box=BOX))
    robot.wait_for("the object", lambda: [obj for obj in robot.process().objects if obj.area])
    messages = robot.listen(foxglove.ImageAnnotations, "/sam2/annotations")
    robot.wait_for("annotations", lambda: robot.process() and messages)
    messages.clear()
    objects = robot.process(scene())
    message = robot.wait_for(
        "its annotations",
        lambda: next((m for m in messages if m.texts and m.texts[0].timestamp == objects.header.stamp), None),
    )
    (obj,) = read_objects(objects)
    *parts, box = (polygon(each) for each in message.points)
    drawn = filled(parts, IMAGE_HEIGHT_PX, IMAGE_WIDTH_PX)
    assert obj.mask.any()
    assert iou(drawn, obj.mask) > 0.9
    roi = objects.objects[0].roi
    assert np.ptp(box, axis=0).tolist() == [roi.width, roi.height]
    assert [each.text for each in message.texts] == [f"cup TRACKING {objects.objects[0].score:.2f}"]
    assert rgb(message.texts[0].text_color) == colour_of(objects.objects[0].label)
