# SPDX-License-Identifier: Apache-2.0
"""A robot's program that grasps one object at a time: asks the node for it by a box, waits, plans, closes, lifts.

Knows the node by its topics, services and action alone, and its own arm; does not know the world, nor which scenario is
played.
"""

from __future__ import annotations

import argparse
import contextlib
from collections import deque
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Duration
from grasp import HOME, OPEN_M, Arm, NoGraspError, plan_grasp, trajectory
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sam2_ros_msgs.action import TrackUntil
from sam2_ros_msgs.msg import ObjectStatus, ObjectStatusArray, Prompt, PromptArray, TrackedObject
from sam2_ros_msgs.srv import RemoveObjects
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import String

JOINTS = [*(f"panda_joint{number}" for number in range(1, 8)), "panda_finger_joint1"]
AT_HOME = np.array([*HOME, OPEN_M])
STILL_FOR = Duration(
    sec=1
)  # an object that is still for that long rests; how still: the node's stable_within
MOVED_M = 0.02  # farther from where it was when the grasp was planned: planned again
PATIENCE_S = 20.0
SERVER_PATIENCE_S = 60.0
CLOUD_AGE_S = 0.35


def seconds(stamp: Any) -> float:
    return float(stamp.sec + stamp.nanosec * 1e-9)


def position(status: ObjectStatus) -> np.ndarray:
    at = status.pose.position
    return np.array([at.x, at.y, at.z])


def is_located(status: ObjectStatus | None) -> bool:
    return status is not None and status.state == TrackedObject.TRACKING and status.has_position


class UntilStill:
    """One goal of ~/track_until: waits until an object is TRACKING, has a position, and rests.

    Attributes:
        rests: True once the object does; failure: why it will not, empty while it may.
    """

    def __init__(self, actions: ActionClient, object_id: str, prompt: Prompt | None = None) -> None:
        """`prompt`: of a new object; None: wait for the existing one."""
        self.rests, self.failure = False, ""
        goal = TrackUntil.Goal(id=object_id, until=TrackUntil.Goal.STABLE, stable_for=STILL_FOR)
        if prompt is not None:
            goal.prompt = prompt
        actions.send_goal_async(goal).add_done_callback(self._on_accepted)

    def _on_accepted(self, sent: Any) -> None:
        sent.result().get_result_async().add_done_callback(self._on_result)

    def _on_result(self, reply: Any) -> None:
        result = reply.result().result
        self.rests, self.failure = result.success, "" if result.success else result.message


def labelled_points(cloud: PointCloud2, label: int) -> np.ndarray:
    """``[n, 3]`` metres, the points of one object of ~/object_cloud."""
    offsets = {field.name: field.offset for field in cloud.fields}
    names = ("x", "y", "z", "label")
    layout = np.dtype(
        {
            "names": names,
            "formats": ["<f4", "<f4", "<f4", "<u4"],
            "offsets": [offsets[name] for name in names],
            "itemsize": cloud.point_step,
        }
    )
    points = np.frombuffer(bytes(cloud.data), layout)
    points = points[points["label"] == label]
    return np.stack([points["x"], points["y"], points["z"]], axis=1).astype(np.float64)


class Picker(Node):
    """Answers every image with the arm's targets for the next one, and with what it is doing."""

    def __init__(self, node: str, rate_hz: float) -> None:
        super().__init__("picker")
        self.rate_hz, self.arm = rate_hz, Arm()
        self.id, self.phase, self.asked_s, self.planned_at = "", "idle", 0.0, np.zeros(3)
        self.until: UntilStill | None = None
        self.plan, self.targets, self.cloud = deque(), AT_HOME, PointCloud2()
        self.actions = ActionClient(self, TrackUntil, f"/{node}/track_until")
        self.remove = self.create_client(RemoveObjects, f"/{node}/remove_objects")
        self.commands = self.create_publisher(JointState, "/arm/targets", 10)
        self.phases = self.create_publisher(String, "/pick/phase", 10)
        if not self.actions.wait_for_server(SERVER_PATIENCE_S):
            raise SystemExit(
                f"no action /{node}/track_until within {SERVER_PATIENCE_S:.0f} s: is the node running?"
            )
        self.create_subscription(PromptArray, "/detector/prompts", self.on_detection, 10)
        self.create_subscription(ObjectStatusArray, f"/{node}/status", self.on_status, 10)
        self.create_subscription(PointCloud2, f"/{node}/object_cloud", self.on_cloud, 2)

    def on_detection(self, message: PromptArray) -> None:
        """Begins with a new object: the detector's box goes to the node, with the stamp of its image."""
        prompt = message.prompts[0]
        prompt.header = message.header
        self.id, self.phase, self.asked_s = prompt.id, "wait", seconds(message.header.stamp)
        self.plan, self.targets = deque(), AT_HOME
        self.until = UntilStill(self.actions, self.id, prompt)

    def on_cloud(self, message: PointCloud2) -> None:
        self.cloud = message

    def on_status(self, message: ObjectStatusArray) -> None:
        stamp_s = seconds(message.header.stamp)
        status = next((obj for obj in message.objects if obj.id == self.id), None)
        if self.phase == "wait":
            self.wait(stamp_s, status)
        elif self.phase == "approach" and self.has_moved(status):
            self.go_home()
        if self.plan:
            phase, self.targets = self.plan.popleft()
            self.phase = phase or "wait"
        elif self.phase == "hold":
            self.finish("done")
        stamp = message.header.stamp
        command = JointState(name=JOINTS, position=self.targets.tolist())
        command.header.stamp = stamp
        self.phases.publish(String(data=f"{stamp.sec}.{stamp.nanosec:09} {self.id or '-'} {self.phase}"))
        self.commands.publish(command)

    def wait(self, stamp_s: float, status: ObjectStatus | None) -> None:
        if self.until.failure:
            self.finish(f"gave up: {self.until.failure}")
        elif self.until.rests and is_located(status):
            self.begin(stamp_s, status)
        elif stamp_s > self.asked_s + PATIENCE_S:
            states = ("PENDING", "TRACKING", "OCCLUDED", "LOST")
            self.finish(f"gave up: {'not there' if status is None else states[status.state]}")

    def begin(self, stamp_s: float, status: ObjectStatus) -> None:
        """Plans a grasp of the object where it rests."""
        if seconds(self.cloud.header.stamp) < stamp_s - CLOUD_AGE_S:
            return  # the next image brings one
        try:
            grasp = plan_grasp(labelled_points(self.cloud, status.label))
            self.plan = deque(trajectory(self.arm, grasp, self.rate_hz, self.targets[:7]))
        except NoGraspError as error:
            self.finish(f"gave up: {error}")
            return
        self.planned_at = position(status)
        x, y, z = grasp.centre_xyz
        self.get_logger().info(
            f"{self.id}: position {self.planned_at.round(3).tolist()} m +- {status.position_stddev * 1000:.1f} mm, "
            f"grasp at ({x:.3f}, {y:.3f}, {z:.3f}) m, yaw {grasp.yaw:.2f} rad, {grasp.width_m * 1000:.0f} mm wide"
        )

    def has_moved(self, status: ObjectStatus | None) -> bool:
        """True if the object is seen elsewhere than where it was planned to be grasped."""
        return is_located(status) and bool(np.linalg.norm(position(status) - self.planned_at) > MOVED_M)

    def go_home(self) -> None:
        """Leaves the way of the camera, and waits again."""
        shares = np.linspace(0, 1, round(0.8 * self.rate_hz) + 1)[1:]
        self.plan = deque(("", self.targets + (AT_HOME - self.targets) * share) for share in shares)
        self.until, self.phase = UntilStill(self.actions, self.id), "wait"

    def finish(self, phase: str) -> None:
        """Ends with this object; with its removal a goal that waits for it ends too."""
        self.phase, self.plan = phase, deque()
        self.remove.call_async(RemoveObjects.Request(ids=[self.id]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--node", default="sam2_node", help="name of the node")
    parser.add_argument("--rate", type=float, default=10.0, help="images per second of the camera")
    args = parser.parse_args()
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(Picker(args.node, args.rate))


if __name__ == "__main__":
    main()
