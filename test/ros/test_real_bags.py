# SPDX-License-Identifier: Apache-2.0
"""Recordings played to a live node: a rendered clip, a dog in raw images, a kite surfer in JPEG."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from image_encodings import encoded
from sam2_ros_msgs.msg import TrackedObjectArray

from sam2_ros.media.bag.storage import BagReader
from sam2_ros.media.frames import open_source
from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.media.ros_image import as_uint8
from sam2_ros.synthetic.clip import ClipConfig
from sam2_ros.synthetic.render import render_clip

from .conftest import stamp_ns

COLOUR_ORDERS = ("rgb8", "bgr8", "rgba8", "bgra8")
SURFER = (277.0, 73.0, 415.0, 245.0)
DOG = (90.0, 40.0, 230.0, 170.0)


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot()
    robot.listen_to_outputs()
    return robot


def followed(robot, frames, box, encoding) -> list[np.ndarray]:
    """The live node's masks of one object, image by image."""
    robot.reset()
    masks = []
    for number, frame in enumerate(frames):
        if number == 0:
            robot.process(frame)
            assert robot.add(robot.prompt("thing", box=box)).success
        message = robot.process(encoded(frame, encoding), encoding, width=frame.shape[1])
        masks.append(read_objects(message)[0].mask)
    return masks


def assert_equal_in_all_colours(robot, frames, box):
    expected = followed(robot, frames, box, "rgb8")
    assert np.mean([mask.any() for mask in expected]) > 0.8
    for encoding in COLOUR_ORDERS[1:]:
        for mask, wanted in zip(followed(robot, frames, box, encoding), expected, strict=True):
            assert np.array_equal(mask, wanted), encoding


def test_a_rendered_clip_gives_the_same_masks_in_every_colour_order(robot):
    clip = render_clip(
        4, ClipConfig(height_px=120, width_px=160, frames=6, objects=1, occluders=0, hide_probability=0.0)
    )
    rows, columns = np.nonzero(clip.masks[0, 0])
    box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
    assert_equal_in_all_colours(robot, clip.frames, box)


def test_a_real_bag_gives_the_same_masks_in_every_colour_order(robot, shared_data):
    with open_source(shared_data / "bags/derived_libby_raw320_db3") as source:
        frames = [frame.image for frame, _ in zip(source, range(6), strict=False)]
    assert_equal_in_all_colours(robot, frames, DOG)


def test_a_real_compressed_bag_is_tracked_as_its_decoded_images_are(robot, make_robot, shared_data):
    path = shared_data / "bags/derived_kite-surf_compressed_mcap"
    compressed = make_robot(image_transport="compressed")
    compressed.listen(TrackedObjectArray, "/sam2/objects")
    with BagReader(path) as reader:
        (topic,) = (info.name for info in reader.topics() if "compressed" in info.name)
        jpegs = [
            bytes(as_uint8(reader.decode(raw).data))
            for raw, _ in zip(reader.raw_messages([topic]), range(6), strict=False)
        ]
    with open_source(path) as source:
        frames = [frame.image for frame, _ in zip(source, range(6), strict=False)]
    expected = followed(robot, frames, SURFER, "rgb8")

    def seen(jpeg):
        stamp = compressed.send_compressed(jpeg)
        return compressed.wait_for("the result", lambda: compressed.objects_at(stamp))

    compressed.wait_for(
        "the first image",
        lambda: compressed.send_compressed(jpegs[0]) and compressed.received["/sam2/objects"],
    )
    newest = stamp_ns(seen(jpegs[0]))
    assert newest
    assert compressed.add(compressed.prompt("thing", box=SURFER)).success
    masks = [read_objects(seen(jpeg))[0].mask for jpeg in jpegs]
    for mask, wanted in zip(masks, expected, strict=True):
        assert np.array_equal(mask, wanted)
    assert all(mask.any() for mask in masks)
