# SPDX-License-Identifier: Apache-2.0
"""Clicks in metres in a frame that tf connects with the camera's, while the camera moves and time jumps."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")
pytest.importorskip("tf2_ros", reason="needs tf2_ros, which has no wheel")

import tf2_ros
from geometry_msgs.msg import TransformStamped

from .conftest import FRAME_NS, stamp_ns
from .test_clicked_points import APPLIED, BOX_PX, FOCAL_PX, LATE, click, clickable, clicked, see, seen_at


@pytest.fixture(scope="module")
def node(make_robot):
    return clickable(make_robot)


@pytest.fixture
def robot(node):
    node.reset()
    see(node)
    return node


def moved(frame_id: str, stamp: int, x_m: float) -> TransformStamped:
    """The camera at x in a frame."""
    made = TransformStamped(child_frame_id="camera")
    made.header.frame_id = frame_id
    made.header.stamp.sec, made.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    made.transform.translation.x, made.transform.rotation.w = x_m, 1.0
    return made


def test_a_click_in_another_frame_is_seen_by_the_camera_as_it_stood_when_the_image_was_taken(robot):
    broadcaster = tf2_ros.TransformBroadcaster(robot.node)
    step_m, start = 0.004, robot.next_stamp_ns()

    def camera_at(stamp: int) -> float:
        """x of the camera in the map at a stamp: it moves by a pixel an image."""
        return (stamp - start) / FRAME_NS * step_m

    before = len(robot.received["/sam2/prompt_events"])
    x, y, z = seen_at(BOX_PX)
    click(robot, (x, y, z), "map", start + 3_600_000_000_000)
    stamps: list[int] = []

    def told() -> bool:
        stamps.append(see(robot))
        for late in stamps[-4:-2]:  # tf is two images late
            broadcaster.sendTransform(moved("map", late, camera_at(late)))
        return len(robot.received["/sam2/prompt_events"]) > before

    robot.wait_for("the event of the click", told)
    event = robot.received["/sam2/prompt_events"][before]
    assert event.outcome in (APPLIED, LATE), event.reason
    assert stamp_ns(event) in stamps
    (point,) = event.prompt.points
    assert point.x == pytest.approx(50 - camera_at(stamp_ns(event)) / 0.8 * FOCAL_PX, abs=0.01)
    assert point.y == pytest.approx(50, abs=0.01)

    fixed = stamps[-4]  # an image that tf has reached: the click is for it
    event = clicked(robot, (x, y, z), "map", fixed)
    assert stamp_ns(event) == fixed
    assert event.prompt.points[0].x == pytest.approx(50 - camera_at(fixed) / 0.8 * FOCAL_PX, abs=0.01)


def test_after_a_jump_back_in_time_a_click_uses_the_tf_of_now(robot):
    broadcaster = tf2_ros.TransformBroadcaster(robot.node)
    events, (x, y, z) = robot.received["/sam2/prompt_events"], seen_at(BOX_PX)

    def pixel_of_a_click(shift_m: float) -> float:
        before = len(events)
        click(robot, (x, y, z), "loop")

        def told() -> bool:
            stamp = see(robot)
            broadcaster.sendTransform(moved("loop", stamp, shift_m))
            return len(events) > before

        robot.wait_for("the event of the click", told)
        assert events[before].outcome in (APPLIED, LATE), events[before].reason
        return events[before].prompt.points[0].x

    assert pixel_of_a_click(0.0) == pytest.approx(50, abs=0.01)
    robot.next_stamp_ns(-100_000_000_000)  # tf2 refuses what is that much older than what it has
    see(robot)
    assert pixel_of_a_click(0.04) == pytest.approx(40, abs=0.01)


def test_with_positions_a_click_uses_the_subscriptions_that_are_there(make_robot):
    pytest.importorskip("message_filters", reason="needs message_filters, which has no wheel")
    robot = clickable(make_robot, use_3d=True, target_frame="map")
    events = robot.received["/sam2/prompt_events"]
    broadcaster = tf2_ros.TransformBroadcaster(robot.node)

    def told() -> bool:
        broadcaster.sendTransform(moved("map", see(robot), 0.04))
        return bool(events)

    click(robot, seen_at(BOX_PX), "map")
    robot.wait_for("the event of the click", told)
    assert events[0].outcome in (APPLIED, LATE), events[0].reason
    assert events[0].prompt.points[0].x == pytest.approx(40, abs=0.01)
    assert [robot.node.count_subscribers(topic) for topic in ("/camera_info", "/tf")] == [1, 1]
