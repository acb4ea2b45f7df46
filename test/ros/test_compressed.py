# SPDX-License-Identifier: Apache-2.0
"""Compressed images, best effort: objects from JPEG and PNG on image_raw/compressed."""

import math
import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from sam2_ros_msgs.msg import TrackedObjectArray

from .conftest import BOX, HEIGHT_PX, START_TIMEOUT_S, WIDTH_PX, scene


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot(image_transport="compressed", image_reliability="best_effort")
    robot.listen(TrackedObjectArray, "/sam2/objects")
    return robot


def encoded(kind: str) -> bytes:
    return cv2.imencode(kind, np.ascontiguousarray(scene()[..., ::-1]))[1].tobytes()


def process(robot, data: bytes, format: str):
    """Best effort may lose an image: send until one has a result."""
    sent: list[int] = []
    last_s = -math.inf

    def answered():
        nonlocal last_s
        if time.monotonic() - last_s > 1.0:
            last_s = time.monotonic()
            sent.append(robot.send_compressed(data, format))
        return next((message for message in map(robot.objects_at, sent) if message), None)

    return robot.wait_for("the objects", answered, START_TIMEOUT_S)


def test_png_and_jpeg_are_tracked_and_a_truncated_one_is_skipped(robot):
    process(robot, encoded(".png"), "png")
    assert robot.add(robot.prompt("box", box=BOX)).success
    message = process(robot, encoded(".png"), "rgb8; png compressed bgr8")
    assert [obj.id for obj in message.objects] == ["box"]
    assert (message.image_height, message.image_width) == (HEIGHT_PX, WIDTH_PX)

    def skipped():
        robot.send_compressed(encoded(".jpg")[:200], "jpeg")
        return "image skipped" in robot.log()

    robot.wait_for("the log line", skipped)
    message = process(robot, encoded(".jpg"), "rgb8; jpeg compressed bgr8")
    assert [obj.id for obj in message.objects] == ["box"]
