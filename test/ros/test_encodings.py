# SPDX-License-Identifier: Apache-2.0
"""One scene in every encoding through the live node: same pixels give the same masks, similar pixels similar ones."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from image_encodings import encoded, padded
from sam2_ros_msgs.msg import TrackedObjectArray

from sam2_ros.engine import Prompt, TrackedObject, Tracker, TrackerConfig
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.media.ros_image import compressed_to_rgb, image_to_rgb
from sam2_ros.weights.load import load_model

from .conftest import BOX, HEIGHT_PX, IMAGE_SIZE, WIDTH_PX, scene

SAME_PIXELS = ("rgb8", "bgr8", "rgba8", "bgra8")
# One of each kind; test/media/test_ros_image.py reads them all.
OTHERS = (
    "mono8",
    "mono16",
    "rgb16",
    "yuv422",
    "yuyv",
    "bayer_rggb8",
    "nv12",
    "nv21",
    "i420",
    "8UC1",
    "8UC3",
    "8UC4",
)
PADDING = 24  # bytes after each row


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot()
    robot.listen_to_outputs()
    return robot


@pytest.fixture(scope="module")
def compressed_robot(make_robot):
    robot = make_robot(image_transport="compressed")
    robot.listen(TrackedObjectArray, "/sam2/objects")
    return robot


@pytest.fixture(scope="module")
def expected(robot) -> TrackedObject:
    """The result of the box for rgb8 without padding."""
    return live(robot, "rgb8")


@pytest.fixture(scope="module")
def direct(model) -> Callable[[np.ndarray], np.ndarray]:
    """The tracker's mask for the same two images, without a node."""
    loaded = load_model(model, device="cpu", image_size=IMAGE_SIZE)

    def mask(image_rgb: np.ndarray) -> np.ndarray:
        tracker = Tracker(loaded, TrackerConfig())
        tracker.step(image_rgb, [Prompt("box", box=BOX)])
        return tracker.step(image_rgb).objects[0].mask

    return mask


def wire(encoding: str, padding: int = 0, big_endian: bool = False) -> tuple[np.ndarray, dict[str, int]]:
    """scene() as [H, step] uint8, and the message fields that do not follow from this shape."""
    rows = encoded(scene(), encoding)
    if big_endian:
        rows = np.ascontiguousarray(rows).view("<u2").byteswap().view(np.uint8)
    step, data = padded(rows, padding)
    sent = np.frombuffer(data, np.uint8).reshape(-1, step)  # planes have more rows than the picture
    return sent, {"height": HEIGHT_PX, "width": WIDTH_PX, "is_bigendian": int(big_endian)}


def live(robot, encoding: str, padding: int = 0, big_endian: bool = False) -> TrackedObject:
    """The box in the second image of a scene, prompted on the first image."""
    image, fields = wire(encoding, padding, big_endian)
    robot.reset()
    robot.add(robot.prompt("box", box=BOX))
    robot.process(image, encoding, **fields)
    (found,) = read_objects(robot.process(image, encoding, **fields))
    return found


def live_compressed(robot, data: bytes, format: str) -> TrackedObject:
    robot.reset()
    robot.add(robot.prompt("box", box=BOX))
    for _ in range(2):
        stamp = robot.send_compressed(data, format)
        message = robot.wait_for("the objects", lambda stamp=stamp: robot.objects_at(stamp))
    (found,) = read_objects(message)
    return found


def file_of(suffix: str) -> bytes:
    return cv2.imencode(suffix, np.ascontiguousarray(scene()[..., ::-1]))[1].tobytes()


@pytest.mark.parametrize("padding", [0, PADDING])
@pytest.mark.parametrize("encoding", SAME_PIXELS)
def test_encodings_of_the_same_pixels_give_the_same_mask_bit_for_bit(robot, expected, encoding, padding):
    found = live(robot, encoding, padding)
    assert found.presence == expected.presence
    assert found.score == expected.score
    assert np.array_equal(found.mask, expected.mask)


def test_png_gives_the_same_mask_bit_for_bit(compressed_robot, expected):
    found = live_compressed(compressed_robot, file_of(".png"), "rgb8; png compressed bgr8")
    assert found.presence == expected.presence
    assert np.array_equal(found.mask, expected.mask)


def test_the_comparison_can_tell_colours_apart(robot, expected):
    assert expected.mask.any()
    image, fields = wire("bgr8")
    robot.reset()
    robot.add(robot.prompt("box", box=BOX))
    robot.process(image, "rgb8", **fields)
    (found,) = read_objects(robot.process(image, "rgb8", **fields))
    assert found.presence != expected.presence


@pytest.mark.parametrize("encoding", OTHERS)
def test_lossy_and_colourless_encodings_give_what_the_tracker_gives_for_their_pixels(
    robot, expected, direct, encoding
):
    image, _ = wire(encoding)
    found = live(robot, encoding)
    converted = image_to_rgb(HEIGHT_PX, WIDTH_PX, encoding, 0, image.strides[0], image.tobytes())
    assert mask_iou(found.mask, direct(converted)) > 0.99
    assert mask_iou(found.mask, expected.mask) > 0.8


@pytest.mark.parametrize("encoding", ["mono8", "mono16", "yuv422", "yuv422_yuy2", "bayer_grbg8"])
def test_padded_rows_change_nothing(robot, encoding):
    tight, wide = live(robot, encoding), live(robot, encoding, PADDING)
    assert wide.presence == tight.presence
    assert np.array_equal(wide.mask, tight.mask)


def test_mono16_is_read_in_the_byte_order_the_message_names(robot):
    little, big = live(robot, "mono16"), live(robot, "mono16", big_endian=True)
    assert big.presence == little.presence
    assert np.array_equal(big.mask, little.mask)


def test_jpeg_gives_what_the_tracker_gives_for_its_pixels(compressed_robot, expected, direct):
    data = file_of(".jpg")
    found = live_compressed(compressed_robot, data, "jpeg")
    assert mask_iou(found.mask, direct(compressed_to_rgb(data))) > 0.99
    assert mask_iou(found.mask, expected.mask) > 0.8


def test_channels_without_a_name_are_told_once_in_the_log(robot):
    for _ in range(2):
        live(robot, "8UC3")
    assert robot.log().count("do not say what their channels are: read as bgr") == 1


def test_a_thermal_camera_is_seen_by_its_percentiles(make_robot, robot, expected):
    """16UC1 is refused as depth by one node; the other, with mono16_range set, reads it as grey."""
    thermal = (7000 + 8 * scene()[..., 0].astype("<u2")).view(np.uint8)
    robot.send_image(thermal, "16UC1", width=WIDTH_PX)
    robot.wait_for("the reason in the log", lambda: "'16UC1' is usually depth" in robot.log())
    seeing = make_robot(mono16_range="percentiles")
    seeing.listen_to_outputs()
    seeing.add(seeing.prompt("box", box=BOX))
    for _ in range(2):
        message = seeing.process(thermal, "16UC1", width=WIDTH_PX)
    (found,) = read_objects(message)
    assert mask_iou(found.mask, expected.mask) > 0.8
