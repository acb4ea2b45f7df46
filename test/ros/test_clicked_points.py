# SPDX-License-Identifier: Apache-2.0
"""Points in metres on ~/clicked_point, as RViz's Publish Point and Foxglove's 3D panel send them, on a live graph."""

import contextlib
import sys
import time

import cv2
import pytest
from ros_domains import next_domain

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

import rclpy
from geometry_msgs.msg import PointStamped
from rclpy.executors import SingleThreadedExecutor
from sam2_ros_msgs.msg import PromptEvent
from sensor_msgs.msg import CameraInfo, CompressedImage

from sam2_ros.engine import PromptError
from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.node.frame_history import FrameHistory, StampedImage
from sam2_ros.node.spatial.location import NoPositionError
from sam2_ros.node.spatial.point_projector import PointProjector, WorldPoint

from .conftest import FRAME_NS, HEIGHT_PX, TIMEOUT_S, WIDTH_PX, scene, stamp_ns

FOCAL_PX = 200.0
CENTRE_PX = (WIDTH_PX / 2, HEIGHT_PX / 2)
BOX_PX = (50.0, 50.0)  # in the red box of scene()
APPLIED, LATE, REJECTED = PromptEvent.APPLIED, PromptEvent.LATE, PromptEvent.REJECTED
WITHOUT_TF = (
    "import sys; sys.modules['tf2_ros'] = None; from sam2_ros.node.node import main; raise SystemExit(main())"
)


def camera_info(stamp: int, focal_px: float = FOCAL_PX) -> CameraInfo:
    info = CameraInfo(height=HEIGHT_PX, width=WIDTH_PX, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = [focal_px, 0.0, CENTRE_PX[0], 0.0, focal_px, CENTRE_PX[1], 0.0, 0.0, 1.0]
    info.header.frame_id = "camera"
    info.header.stamp.sec, info.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return info


def seen_at(pixel: tuple[float, float], z_m: float = 0.8) -> tuple[float, float, float]:
    """A point in the camera's frame that this pixel shows."""
    x, y = ((pixel[axis] - CENTRE_PX[axis]) / FOCAL_PX * z_m for axis in (0, 1))
    return x, y, z_m


def click(robot, xyz, frame_id: str, stamp: int = 0) -> None:
    message = PointStamped()
    message.point.x, message.point.y, message.point.z = map(float, xyz)
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    robot.publisher(PointStamped, "/sam2/clicked_point").publish(message)


def see(robot) -> int:
    """Send camera_info and an image of the same stamp; returns it when its result is there."""
    stamp = robot.next_stamp_ns()
    robot.infos.publish(camera_info(stamp))
    robot.process(scene(), stamp_ns=stamp)
    return stamp


def outcome(robot, before: int):
    """The event of the next click after `before` events, while images go on."""
    events = robot.received["/sam2/prompt_events"]
    return robot.wait_for("the event of the click", lambda: (see(robot), events[before:])[1])[0]


def clickable(make_robot, **parameters):
    """A node, and a camera that also publishes camera_info."""
    robot = make_robot(max_objects=4, tf_timeout=1.0, **parameters)
    # Without waiting for its subscription: the node makes it with the first click in metres.
    robot.infos = robot.node.create_publisher(CameraInfo, "/camera_info", 10)
    robot.listen_to_outputs()
    robot.listen(PromptEvent, "/sam2/prompt_events")
    return robot


@contextlib.contextmanager
def context_of_a_domain():
    """A graph of its own in this process."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    yield context
    context.try_shutdown()


@pytest.fixture(scope="module")
def node(make_robot):
    return clickable(make_robot)


@pytest.fixture
def robot(node):
    node.set_parameter("active_id", "")
    node.reset()
    see(node)
    return node


def clicked(robot, xyz, frame_id: str, stamp: int = 0):
    before = len(robot.received["/sam2/prompt_events"])
    click(robot, xyz, frame_id, stamp)
    return outcome(robot, before)


def test_a_click_in_metres_in_the_cameras_frame_prompts_the_pixel_that_shows_the_point(robot):
    stamp = see(robot)
    event = clicked(robot, seen_at(BOX_PX), "camera", stamp + 5_000_000_000)  # a viewer's own clock
    assert event.outcome in (APPLIED, LATE), event.reason
    assert event.source == "click"
    (point,) = event.prompt.points
    assert (point.x, point.y, point.positive) == (
        pytest.approx(50, abs=0.01),
        pytest.approx(50, abs=0.01),
        True,
    )
    assert stamp <= stamp_ns(event) < stamp + 100 * FRAME_NS  # of an image, not of the click
    assert event.header.frame_id == "camera"
    (obj,) = read_objects(robot.process())
    assert obj.mask[50, 50]


def test_a_click_in_metres_refines_the_active_object(robot):
    robot.add(robot.prompt("cup", box=(30.0, 30.0, 70.0, 70.0), class_id="mug"))
    see(robot)
    assert robot.set_parameter("active_id", "cup").successful
    events = robot.received["/sam2/prompt_events"]
    robot.wait_for("the box", lambda: (see(robot), events and events[-1].id == "cup")[1])
    assert clicked(robot, seen_at(BOX_PX), "camera").id == "cup"
    (obj,) = robot.process().objects
    assert (obj.id, obj.class_id) == ("cup", "mug")


@pytest.mark.parametrize(
    ("xyz", "age_s", "reason"),
    [
        ((0.1, 0.0, -0.5), None, "is 0.50 m behind the camera 'camera'"),
        ((5.0, 0.0, 1.0), None, "is outside the 160x120 image of 'camera', at pixel (1080, 60)"),
        ((float("nan"), 0.0, 1.0), None, "expected finite numbers"),
        (seen_at(BOX_PX), 60.0, "s before the newest image; expected at most prompt_history = 2 s"),
    ],
)
def test_a_click_that_no_pixel_shows_is_rejected_with_the_reason_as_an_event_too(robot, xyz, age_s, reason):
    stamp = see(robot) - int(age_s * 1e9) if age_s else 0
    event = clicked(robot, xyz, "camera", stamp)
    assert (event.outcome, event.source, event.header.frame_id) == (REJECTED, "click", "camera")
    assert reason in event.reason
    assert f"rejected: {event.reason}" in robot.log()
    assert not robot.process().objects


def test_a_click_in_a_frame_that_tf_does_not_know_is_waited_for_by_nobody_and_then_rejected(robot):
    before = len(robot.received["/sam2/prompt_events"])
    click(robot, (1.2, 0.4, 0.7), "no_such_frame")
    begun_s = time.monotonic()
    assert robot.state() == "active"
    robot.process()
    assert time.monotonic() - begun_s < 1.0  # the node works on
    event = outcome(robot, before)
    assert event.outcome == REJECTED
    missing = "tf has no transform from 'no_such_frame' to the camera's frame 'camera'"
    assert missing in event.reason or "tf2_ros" in event.reason
    assert event.reason.startswith("click at (1.200, 0.400, 0.700) m in frame 'no_such_frame'")


def test_without_camera_info_or_tf2_a_click_in_metres_is_refused_and_cleanup_ends_its_subscriptions(
    make_robot,
):
    robot = make_robot([sys.executable, "-c", WITHOUT_TF], tf_timeout=0.1)
    robot.listen_to_outputs()
    events = robot.listen(PromptEvent, "/sam2/prompt_events")
    stamp = stamp_ns(robot.process())
    click(robot, seen_at(BOX_PX), "camera")
    robot.wait_for("the rejection", lambda: events)
    assert "no camera_info has come on /camera_info" in events[0].reason
    click(robot, seen_at(BOX_PX), "map")
    robot.wait_for("the rejection", lambda: len(events) > 1)
    assert "a click in metres needs the ROS package tf2_ros" in events[1].reason
    click(robot, (*BOX_PX, 0.0), "camera", stamp)
    click(robot, (110.0, 80.0, 0.0), "")

    def places() -> list[tuple[bool, bool]]:
        masks = [obj.mask for obj in read_objects(robot.process())]
        return [(bool(mask[50, 50]), bool(mask[80, 110])) for mask in masks]

    robot.wait_for("both objects", lambda: places() == [(True, False), (False, True)])
    assert robot.node.count_subscribers("/camera_info") == 1
    assert robot.transition("deactivate")
    assert robot.transition("cleanup")
    robot.wait_for("the end of the subscription", lambda: not robot.node.count_subscribers("/camera_info"))
    click(robot, seen_at(BOX_PX), "camera")
    robot.wait_for("the rejection", lambda: events[-1].reason.startswith("the node is unconfigured"))


def test_a_point_is_found_in_compressed_images_whose_size_is_in_their_header(monkeypatch):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    image = CompressedImage(format="jpeg", data=cv2.imencode(".jpg", scene())[1].tobytes())
    history = FrameHistory(2.0)
    history.add(StampedImage(image, FRAME_NS, "camera", time.monotonic()))
    point = WorldPoint(seen_at(BOX_PX), "camera", 0)
    with context_of_a_domain() as context:
        node = rclpy.create_node("projects", context=context)
        infos = node.create_publisher(CameraInfo, "camera_info", 1)
        projector = PointProjector(node, history, None, rectified=False)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        found, deadline_s = None, time.monotonic() + TIMEOUT_S
        while found is None and time.monotonic() < deadline_s:
            with contextlib.suppress(NoPositionError):  # no camera_info has come
                found = projector.pixel(point)
            infos.publish(camera_info(FRAME_NS))
            executor.spin_once(timeout_sec=0.05)
        assert (found.x, found.y) == pytest.approx(BOX_PX)
        history.add(StampedImage(CompressedImage(data=b"no image"), 2 * FRAME_NS, "camera", time.monotonic()))
        with pytest.raises(
            PromptError, match=r"m in frame 'camera': its image cannot be read: .*expected JPEG or PNG"
        ):
            projector.pixel(point)
        projector.destroy()
        assert not [each for each in node.subscriptions if each.topic_name == "/camera_info"]
        executor.shutdown()
