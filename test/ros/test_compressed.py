"""Compressed images: the same objects from JPEG and PNG on image_raw/compressed."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from sam2_ros_msgs.msg import TrackedObjectArray

from .conftest import BOX, HEIGHT_PX, START_TIMEOUT_S, WIDTH_PX, scene


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot(image_transport="compressed")
    robot.listen(TrackedObjectArray, "/sam2/objects")
    return robot


def encoded(kind: str) -> bytes:
    return cv2.imencode(kind, np.ascontiguousarray(scene()[..., ::-1]))[1].tobytes()


def process(robot, data: bytes, format: str):
    stamp = robot.send_compressed(data, format)
    return robot.wait_for("the objects", lambda: robot.objects_at(stamp), START_TIMEOUT_S)


def test_png_and_jpeg_are_tracked_and_a_truncated_one_is_skipped(robot):
    # A first image without waiting for its result: the node may have found us before we have found it.
    robot.send_compressed(encoded(".png"), "png")
    robot.wait_for(
        "the first result", lambda: robot.received["/sam2/objects"] or _again(robot), START_TIMEOUT_S
    )
    assert robot.add(robot.prompt("box", box=BOX)).success
    message = process(robot, encoded(".png"), "rgb8; png compressed bgr8")
    assert [obj.id for obj in message.objects] == ["box"]
    assert (message.image_height, message.image_width) == (HEIGHT_PX, WIDTH_PX)
    robot.send_compressed(encoded(".jpg")[:200], "jpeg")
    robot.wait_for("the log line", lambda: "image skipped" in robot.log())
    message = process(robot, encoded(".jpg"), "rgb8; jpeg compressed bgr8")
    assert [obj.id for obj in message.objects] == ["box"]


def _again(robot) -> bool:
    robot.send_compressed(encoded(".png"), "png")
    return False
