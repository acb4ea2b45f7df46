# SPDX-License-Identifier: Apache-2.0
"""A target frame that tf never gives: what needs positions says so, and tracking goes on."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.action", reason="needs sam2_ros_msgs, built and sourced")
pytest.importorskip("message_filters", reason="needs message_filters, which has no wheel")
pytest.importorskip("tf2_ros", reason="needs tf2_ros, which has no wheel")

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient
from sam2_ros_msgs.action import TrackUntil
from sam2_ros_msgs.srv import ObjectCloud
from tf2_msgs.msg import TFMessage

from .conftest import BOX, stamp_ns
from .test_positions import depth_image, see

ABORTED = 6


def test_without_any_transform_tracking_continues_and_what_needs_positions_says_what_is_missing(make_robot):
    robot = make_robot(use_3d=True, target_frame="map", publish_tf=True, pose_topics=["box"])
    robot.listen_to_outputs()
    frames, poses = robot.listen(TFMessage, "/tf"), robot.listen(PoseStamped, "/sam2/pose/box")
    action = ActionClient(robot.node, TrackUntil, "/sam2/track_until")
    robot.wait_for("the action server", action.server_is_ready, 60.0)
    see(robot, depth_image())
    goal = TrackUntil.Goal(
        prompt=robot.prompt("box", box=BOX),
        until=TrackUntil.Goal.STABLE,
        timeout=Duration(sec=5),
        stable_for=Duration(nanosec=300_000_000),
    )
    sent = action.send_goal_async(goal)
    result = robot.wait_for("the goal", lambda: sent.done() and sent.result()).get_result_async()
    seen = []
    while not result.done():
        message = see(robot, depth_image())
        assert robot.label_image_at(stamp_ns(message)) is not None
        seen += message.objects
    assert seen[-1].state == 1  # TRACKING
    assert not any(obj.has_position for obj in seen)
    assert result.result().status == ABORTED
    assert result.result().result.message == (
        "'box' was not STABLE within 5 s; its state is TRACKING, without a position: depth on /diagnostics says why"
    )
    said = robot.diagnostics()["depth"]
    assert "map" in said["message"], said
    reply = robot.client(ObjectCloud, "cloud").call_async(ObjectCloud.Request(id="box"))
    refused = robot.wait_for("the cloud", reply.done) and reply.result()
    assert not refused.success
    assert "map" in refused.message
    assert not poses
    assert not frames
