# SPDX-License-Identifier: Apache-2.0
"""Positions on a live graph: depth images, camera_info and tf arrive as messages, and may be late or wrong."""

import contextlib
import sys
import time

import numpy as np
import pytest

from sam2_ros.errors import UserError

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("message_filters", reason="needs message_filters (apt: ros-<distro>-message-filters)")

from depth_scenes import card, frame, tracked
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from sam2_ros.node.diagnostics import OK, WARN
from sam2_ros.node.spatial.depth_subscriptions import DEPTHS_KEPT, depths_kept
from sam2_ros.node.spatial.location import NoPositionError, NotYetError
from sam2_ros.node.spatial.object_locator import ObjectLocator
from sam2_ros.node.spatial.transform import IDENTITY, Transforms

from .locator_graph import SLOPES, T0_NS, LocatorGraph, depth_of, header, info, located

CARD = card(SLOPES, (0.05, 0.02, 0.8), (0.12, 0.10))
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def graph():
    made = LocatorGraph()
    yield made
    made.close()


def test_a_card_at_a_known_place(graph, capfd):
    graph.start()
    graph.depth.publish(depth_of(CARD))
    graph.info.publish(info())
    found = graph.until_located(CARD)
    assert (found.frame_id, found.reason) == ("camera", "")
    assert found.locations["cup"].position_xyz == pytest.approx((0.05, 0.02, 0.8), abs=0.004)
    assert found.locations["cup"].size_xyz == pytest.approx((0.12, 0.10, 0.0), abs=0.008)
    assert found.locations["cup"].velocity_xyz == (0.0, 0.0, 0.0)
    for _ in range(40):
        graph.locate(CARD)
        time.sleep(0.03)  # longer than the search for a latched camera_info takes
    assert graph.spatial.line().level == OK
    # Subscribing to earlier messages must not cause a QoS warning of a volatile camera.
    assert "incompatible" not in "".join(capfd.readouterr())


def test_a_hidden_object_has_no_position_and_lacks_none(graph):
    graph.start()
    graph.depth.publish(depth_of(CARD))
    graph.info.publish(info())
    graph.until_located(CARD)
    hidden = graph.locate(CARD, presence=-3.0)
    assert (hidden.locations, hidden.reason) == ({}, "")


def test_missing_messages_are_named_one_after_the_other(graph):
    spatial = graph.start(publish=False)
    assert spatial.line().message == "no image has been tracked yet"
    assert graph.locate(CARD).reason == "no depth image has come on /eye/depth"
    line = spatial.line()
    assert (line.name, line.level) == ("depth", WARN)
    assert (line.values["images"], line.values["images_lacking_positions"]) == ("1", "1")
    assert line.message.startswith(
        "1 of the last 1 images lack positions: no depth image has come on /eye/depth;"
    )
    assert line.message.endswith(
        "the topic has no publisher: check the camera and the remapping of depth_image"
    )
    publisher = graph.camera.create_publisher(Image, "/eye/depth", 10)
    graph.wait(lambda: "depth_image has 1 publisher(s)" in spatial.line().message)
    graph.wait(publisher.get_subscription_count)
    publisher.publish(depth_of(CARD))
    graph.until_reason("no camera_info has come on /camera_info", CARD)
    assert "the remapping of camera_info" in spatial.line().message


def test_camera_info_that_was_sent_once_before(graph):
    latched = graph.camera.create_publisher(CameraInfo, "camera_info", LATCHED)
    latched.publish(info(stamp_ns=0))
    graph.start(publish=False)
    graph.depth = graph.camera.create_publisher(Image, "/eye/depth", 10)
    graph.wait(graph.depth.get_subscription_count)
    graph.depth.publish(depth_of(CARD))
    assert graph.until_located(CARD).locations["cup"].position_xyz[2] == pytest.approx(0.8, abs=0.004)
    graph.spatial.discontinuity()
    graph.depth.publish(depth_of(CARD))
    graph.until_located(CARD)


def test_the_nearest_depth_image_and_the_nearest_camera_info_count(graph):
    graph.start()
    nearer = card(SLOPES, (0.05, 0.02, 0.6), (0.12, 0.10))
    graph.depth.publish(depth_of(nearer, T0_NS - 33_000_000))
    graph.depth.publish(depth_of(CARD, T0_NS + 10_000_000))
    graph.depth.publish(depth_of(nearer, T0_NS + 43_000_000))
    for away_ns, focal in ((-500_000_000, 100.0), (0, 300.0), (33_000_000, 200.0)):
        graph.info.publish(info(T0_NS + away_ns, focal=focal))
    graph.wait(lambda: graph.locate(nearer, T0_NS + 43_000_000).locations)
    found = graph.wait(lambda: graph.locate(CARD).locations.get("cup"))
    assert found.position_xyz == pytest.approx((0.05, 0.02, 0.8), abs=0.004)


def test_depth_of_another_time_costs_the_position(graph):
    graph.start()
    graph.info.publish(info())
    graph.depth.publish(depth_of(CARD))
    graph.until_located(CARD)
    late = graph.locate(CARD, T0_NS + 80_000_000)
    assert late.locations == {}
    assert "0.080 s older than the image, expected at most depth_slop = 0.05 s" in late.reason
    assert "0.070 s newer than the image" in graph.locate(CARD, T0_NS - 70_000_000).reason
    graph.spatial.discontinuity()
    assert "no depth image" in graph.locate(CARD).reason
    most = DEPTHS_KEPT[1]  # of images as small as these
    for index in range(most):
        graph.depth.publish(depth_of(CARD, T0_NS + 33_000_000 * index))
        graph.until_located(CARD, T0_NS + 33_000_000 * index)  # best effort: none may be lost
    reason = graph.until_reason(f"older than the {most} depth images kept", CARD, stamp_ns=T0_NS - 10**9)
    assert "the image is 1.000 s older" in reason


def test_the_memory_for_depth_is_bounded():
    assert depths_kept(0) == depths_kept(320 * 240 * 2) == 120
    assert depths_kept(640 * 480 * 2) == 104  # more than three seconds of a 30 Hz camera
    assert depths_kept(1280 * 720 * 4) == 17
    assert depths_kept(1920 * 1080 * 4) == 15


def test_depth_that_is_not_registered_and_cameras_that_do_not_fit(graph):
    graph.start()
    graph.depth.publish(depth_of(CARD, frame_id="depth_optical"))
    assert "align_depth" in graph.until_reason("in frame 'depth_optical', expected it registered", CARD)
    graph.depth.publish(depth_of(CARD))
    graph.info.publish(info(frame_id="other"))
    graph.until_reason("camera_info is of frame 'other', expected the image's 'camera'", CARD)
    graph.info.publish(CameraInfo(header=header()))
    graph.until_reason("camera_info is uncalibrated", CARD)
    broken = depth_of(CARD)
    broken.encoding = "rgb8"
    graph.depth.publish(broken)
    graph.until_reason("encoding 'rgb8', expected 16UC1 or 32FC1", CARD)
    half = depth_of(CARD)
    half.height, half.data = 120, half.data[: 120 * half.step]
    graph.depth.publish(half)
    graph.until_reason("320x120 in frame 'camera', expected it registered to the image, 320x240", CARD)


def test_one_object_without_depth_costs_the_others_nothing(graph):
    graph.start()
    glass = np.zeros(CARD.shape, bool)
    glass[10:40, 10:40] = True
    message = depth_of(CARD)
    values = np.frombuffer(message.data, np.uint16).reshape(240, 320)
    values[10:40, 10:40] = 0
    graph.depth.publish(message)
    graph.info.publish(info())
    graph.until_located(CARD)
    both = frame(tracked(np.isfinite(CARD)), tracked(glass, "glass", 2))
    for _ in range(30):
        found = located(graph.spatial, both, 240, 320, header())
    assert list(found.locations) == ["cup"]
    assert found.reason == ""
    line = graph.spatial.line()
    assert line.level == WARN
    assert "30 of the last 30 images lack positions: 'glass' has no position: 0 of 900 pixels" in line.message


def test_a_moving_card_has_a_velocity_until_time_jumps(graph):
    graph.start(slop_s=0.02)  # each image with its own depth image only
    graph.info.publish(info())

    def follow(start_ns: int, images: int):
        for index in range(images):
            stamp_ns = start_ns + index * 50_000_000
            body = card(SLOPES, (-0.1 + 0.02 * index, 0.0, 0.8 + 0.01 * index), (0.12, 0.10))
            graph.depth.publish(depth_of(body, stamp_ns))
            found = graph.until_located(body, stamp_ns)
        return found.locations["cup"].velocity_xyz

    assert follow(T0_NS, 8) == pytest.approx((0.4, 0.0, 0.2), abs=0.03)
    graph.spatial.discontinuity()
    assert follow(T0_NS - 10**9, 2) == (0.0, 0.0, 0.0)
    assert follow(T0_NS, 4) == pytest.approx((0.4, 0.0, 0.2), abs=0.05)


def test_positions_in_a_target_frame(graph):
    tf2_ros = pytest.importorskip("tf2_ros", reason="needs tf2_ros (apt: ros-<distro>-tf2-ros)")
    from geometry_msgs.msg import TransformStamped

    graph.start(target_frame="base")
    graph.depth.publish(depth_of(CARD))
    graph.info.publish(info())
    reason = graph.until_reason("no transform from 'camera' to target_frame 'base'", CARD)
    assert "base" in reason.partition(": ")[2]
    assert graph.locate(CARD).frame_id == "base"
    assert "no transform from ''" in graph.locate(CARD, frame_id="").reason

    def transform(stamp_ns: int, x: float) -> TransformStamped:
        made = TransformStamped(header=header(stamp_ns, "base"), child_frame_id="camera")
        made.transform.translation.x = x
        rotation = made.transform.rotation
        rotation.x, rotation.y, rotation.z, rotation.w = -0.5, 0.5, -0.5, 0.5
        return made

    # a camera that moves: at the image's stamp it is half way
    broadcaster = tf2_ros.TransformBroadcaster(graph.camera)
    graph.wait(lambda: graph.camera.count_subscribers("/tf"))
    last_s = 0.0

    def located():
        nonlocal last_s
        if time.monotonic() - last_s > 0.2:
            last_s = time.monotonic()
            broadcaster.sendTransform(transform(T0_NS - 20_000_000, 1.0))
            broadcaster.sendTransform(transform(T0_NS + 20_000_000, 2.0))
        return graph.locate(CARD).locations.get("cup")

    found = graph.wait(located)
    assert found.position_xyz == pytest.approx((1.5 + 0.8, -0.05, -0.02), abs=0.005)
    assert found.size_xyz == pytest.approx((0.0, 0.12, 0.10), abs=0.008)
    assert "extrapolation" in graph.locate(CARD, T0_NS + 40_000_000).reason

    # A bag begins again: tf2 refuses transforms more than ten seconds older than its newest one.
    before_ns = T0_NS - 60 * 10**9
    graph.spatial.discontinuity()
    graph.depth.publish(depth_of(CARD, before_ns))
    broadcaster.sendTransform(transform(before_ns, 3.0))
    assert graph.until_located(CARD, before_ns).locations["cup"].position_xyz[0] == pytest.approx(
        3.8, abs=0.005
    )


@pytest.fixture
def tf(graph):
    """A function that broadcasts `map` > `camera` at a stamp and waits until the node has it."""
    tf2_ros = pytest.importorskip("tf2_ros", reason="needs tf2_ros (apt: ros-<distro>-tf2-ros)")
    from geometry_msgs.msg import TransformStamped

    graph.transforms = Transforms(graph.node, "map")
    broadcaster = tf2_ros.TransformBroadcaster(graph.camera)
    graph.wait(lambda: graph.camera.count_subscribers("/tf"))

    def send(stamp_ns: int) -> None:
        made = TransformStamped(header=header(stamp_ns, "map"), child_frame_id="camera")
        made.transform.translation.x, made.transform.rotation.w = stamp_ns / 1e9 - T0_NS / 1e9, 1.0

        def there() -> bool:
            broadcaster.sendTransform(made)
            with contextlib.suppress(NoPositionError):
                return bool(graph.transforms.at(header(stamp_ns)))
            return False

        graph.wait(there)

    yield send
    graph.transforms.destroy()


def test_a_transform_that_may_still_come_is_distinguished_from_one_that_will_not(graph, tf):
    at = graph.transforms.at
    with pytest.raises(NotYetError) as unknown:  # nothing has come yet
        at(header(T0_NS))
    assert unknown.value.behind_s is None
    assert at(header(T0_NS, "map")) is IDENTITY  # needs no tf
    tf(T0_NS)
    tf(T0_NS + 20_000_000)
    with pytest.raises(NotYetError, match="into the future") as late:
        at(header(T0_NS + 50_000_000))
    assert late.value.behind_s == pytest.approx(0.03)
    for stamp_ns, frame_id in ((T0_NS - 1_000_000, "camera"), (T0_NS, "")):
        with pytest.raises(NoPositionError) as never:
            at(header(stamp_ns, frame_id))
        assert not isinstance(never.value, NotYetError)
    tf(T0_NS + 60_000_000)
    assert at(header(T0_NS + 50_000_000)).translation[0] == pytest.approx(0.05)


def test_a_silent_tf_is_not_waited_for_until_it_is_back(graph, tf):
    at = graph.transforms.at
    tf(T0_NS)
    late = header(T0_NS + 50_000_000)
    with pytest.raises(NotYetError):
        at(late)

    def silent() -> bool:
        with pytest.raises(NoPositionError) as error:
            at(late)
        return not isinstance(error.value, NotYetError) and "no new transform for 1." in str(error.value)

    graph.wait(silent)
    tf(T0_NS + 20_000_000)
    with pytest.raises(NotYetError):
        at(late)
    graph.transforms.forget()
    with pytest.raises(NotYetError):
        at(late)


def test_a_missing_package_is_named_before_anything_is_subscribed(graph, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    with pytest.raises(UserError, match=r"target_frame = 'base' needs the ROS package tf2_ros.*-tf2-ros"):
        ObjectLocator(graph.node, 1000, 0.05, "base", rectified=False)
    monkeypatch.setitem(sys.modules, "message_filters", None)
    with pytest.raises(UserError, match=r"use_3d needs the ROS package message_filters.*-message-filters"):
        ObjectLocator(graph.node, 1000, 0.05, "", rectified=False)
    assert graph.node.count_subscribers("/eye/depth") == 0


def test_destroy_ends_every_subscription(graph):
    pytest.importorskip("tf2_ros", reason="needs tf2_ros (apt: ros-<distro>-tf2-ros)")
    spatial = graph.start(target_frame="base")
    topics = ("/eye/depth", "/camera_info", "/tf", "/tf_static")
    graph.wait(lambda: [graph.node.count_subscribers(topic) for topic in topics] == [1, 1, 1, 1])
    spatial.destroy()
    graph.spatial = None
    graph.wait(lambda: not any(graph.node.count_subscribers(topic) for topic in topics))
