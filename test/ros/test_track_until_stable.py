# SPDX-License-Identifier: Apache-2.0
"""The action ~/track_until with depth: a goal ends when the object has come to rest."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.action", reason="needs sam2_ros_msgs, built and sourced")
pytest.importorskip("message_filters", reason="needs message_filters, which has no wheel")

from builtin_interfaces.msg import Duration
from rclpy.action import ActionClient
from sam2_ros_msgs.action import TrackUntil

from .conftest import BOX
from .test_positions import depth_image, see

STILL_S = 0.5


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot(use_3d=True, max_objects=3)
    robot.action = ActionClient(robot.node, TrackUntil, "/sam2/track_until")
    robot.wait_for("the action server", robot.action.server_is_ready, 240.0)
    robot.listen_to_outputs()
    return robot


def test_a_goal_succeeds_when_a_moving_object_has_been_still_and_reads_positions_without_other_listeners(
    robot,
):
    see(robot, depth_image())
    feedback = []
    goal = TrackUntil.Goal(
        prompt=robot.prompt("box", box=BOX),
        until=TrackUntil.Goal.STABLE,
        timeout=Duration(sec=600),
        stable_for=Duration(nanosec=int(STILL_S * 1e9)),
    )
    sent = robot.action.send_goal_async(goal, lambda message: feedback.append(message.feedback.status))
    result = robot.wait_for("the goal", lambda: sent.done() and sent.result()).get_result_async()
    for shift_px in range(0, 60, 4):  # 4 px an image are 16 mm, more than stable_within
        see(robot, depth_image(shift_px=shift_px), shift_px=shift_px)
    assert not result.done()
    images = 0
    while not result.done():
        see(robot, depth_image(shift_px=56), shift_px=56)
        images += 1
        assert images < 100, robot.log()
    reply = result.result().result
    assert reply.success
    assert reply.message.startswith("still for 0.5")
    assert images >= STILL_S / 0.1  # images are 0.1 s apart
    assert reply.status.has_position
    assert reply.status.pose.position.x > 0  # where it came to rest, not where it was prompted
    assert any(status.has_position for status in feedback)
