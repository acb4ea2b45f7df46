# SPDX-License-Identifier: Apache-2.0
"""A robot's program that grasps one object at a time: asks the node for it by a box, waits, plans, closes, lifts.

Knows the node by its topics and services alone, and its own arm; does not know the world, nor which scenario is played.
"""

from __future__ import annotations

import argparse
import contextlib
from collections import deque
from typing import Any

import numpy as np
import rclpy
from grasp import HOME, OPEN_M, Arm, NoGraspError, plan_grasp, trajectory
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sam2_ros_msgs.msg import ObjectStatus, ObjectStatusArray, PromptArray, TrackedObject
from sam2_ros_msgs.srv import RemoveObjects
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import String

JOINTS = [*(f"panda_joint{number}" for number in range(1, 8)), "panda_finger_joint1"]
AT_HOME = np.array([*HOME, OPEN_M])
STILL_S, STILL_M = (
    1.0,
    0.006,
)  # the object rests when its position stays that near to its median for that long
MOVED_M = 0.02  # farther from where it was when the grasp was planned: planned again
PATIENCE_S = 20.0
CLOUD_AGE_S = 0.35


def seconds(stamp: Any) -> float:
    return float(stamp.sec + stamp.nanosec * 1e-9)


def position(status: ObjectStatus) -> np.ndarray:
    at = status.pose.position
    return np.array([at.x, at.y, at.z])


class UntilStill:
    """Waits on ~/status until an object is TRACKING, has a position, and rests."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, np.ndarray]] = deque()

    def update(self, stamp_s: float, status: ObjectStatus | None) -> bool:
        """Takes the object's status in one image, None if it is not there yet; True once it rests."""
        if status is None or status.state != TrackedObject.TRACKING or not status.has_position:
            self._seen.clear()
            return False
        self._seen.append((stamp_s, position(status)))
        while self._seen[0][0] < stamp_s - STILL_S - 1e-6:
            self._seen.popleft()
        if self._seen[0][0] > stamp_s - STILL_S + 1e-6:
            return False
        positions = np.stack([at for _, at in self._seen])
        return bool(np.linalg.norm(positions - np.median(positions, axis=0), axis=1).max() < STILL_M)


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
        self.until, self.plan = UntilStill(), deque()
        self.targets, self.cloud = AT_HOME, PointCloud2()
        self.prompts = self.create_publisher(PromptArray, f"/{node}/prompts", 10)
        self.remove = self.create_client(RemoveObjects, f"/{node}/remove_objects")
        self.commands = self.create_publisher(JointState, "/arm/targets", 10)
        self.phases = self.create_publisher(String, "/pick/phase", 10)
        self.create_subscription(PromptArray, "/detector/prompts", self.on_detection, 10)
        self.create_subscription(ObjectStatusArray, f"/{node}/status", self.on_status, 10)
        self.create_subscription(PointCloud2, f"/{node}/object_cloud", self.on_cloud, 2)

    def on_detection(self, message: PromptArray) -> None:
        """Begins with a new object: the detector's box goes to the node."""
        self.id, self.phase = message.prompts[0].id, "wait"
        self.asked_s = seconds(message.header.stamp)
        self.until, self.plan, self.targets = UntilStill(), deque(), AT_HOME
        self.prompts.publish(message)

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
        if self.until.update(stamp_s, status) and status is not None:
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
        if status is None or status.state != TrackedObject.TRACKING or not status.has_position:
            return False
        return bool(np.linalg.norm(position(status) - self.planned_at) > MOVED_M)

    def go_home(self) -> None:
        """Leaves the way of the camera, and waits again."""
        shares = np.linspace(0, 1, round(0.8 * self.rate_hz) + 1)[1:]
        self.plan = deque(("", self.targets + (AT_HOME - self.targets) * share) for share in shares)
        self.until, self.phase = UntilStill(), "wait"

    def finish(self, phase: str) -> None:
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
