# SPDX-License-Identifier: Apache-2.0
"""Turns positions into a grasp point for a gripper, and prints a reason to wait when there is none.

Needs a node with use_3d and target_frame, and depth; docs/tutorials/robot-arm-with-depth.md shows how to start them.
With --check the point is compared with the true one of the can of 10_depth_camera.py.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.node import Node
from sam2_ros_msgs.msg import ObjectStatus, ObjectStatusArray, TrackedObject

from sam2_ros.synthetic.tabletop import can_centre

OUT = Path("out/examples/11_grasp_point")


def grasp_point(obj: ObjectStatus, eye_xyz: np.ndarray) -> np.ndarray:
    """The middle of the object in the node's target_frame, metres: half its breadth behind the surface that is seen."""
    surface = np.array([obj.pose.position.x, obj.pose.position.y, obj.pose.position.z])
    away = (surface - eye_xyz) * (1, 1, 0)  # along the table
    return surface + away / np.linalg.norm(away) * obj.size.y / 2


class Gripper(Node):
    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__("gripper")
        self.args, self.lines, self.breadth_m = args, [], 0.0
        self.create_subscription(ObjectStatusArray, f"/{args.node}/status", self.on_status, 10)

    def on_status(self, message: ObjectStatusArray) -> None:
        for obj in message.objects:
            if obj.class_id != self.args.class_id:
                continue
            stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
            line = {"stamp": round(stamp_s, 3), "frame": message.position_frame_id}
            self.breadth_m = max(self.breadth_m, obj.size.y)  # the largest that was seen
            if obj.state != TrackedObject.TRACKING or not obj.has_position:
                line["wait"] = f"not seen for {obj.age:.1f} s" if obj.age else "no position"
            elif obj.size.y < 0.9 * self.breadth_m:
                line["wait"] = "partly hidden"
            else:
                point = grasp_point(obj, np.array(self.args.eye))
                line["grasp_m"] = point.round(3).tolist()
                line["speed_m_s"] = round(float(np.hypot(obj.velocity.x, obj.velocity.y)), 3)
                if self.args.check:  # x and y; the height of the grasp is the gripper's choice
                    error_m = np.linalg.norm((point - can_centre(stamp_s))[:2])
                    line["error_mm"] = round(float(error_m) * 1000, 1)
            self.lines.append(line)
            print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--node", default="sam2", help="name of the node")
    parser.add_argument("--class-id", default="orange", help="class of the object in its prompt or detection")
    parser.add_argument(
        "--eye", type=float, nargs=3, default=(0, 0, 0.35), help="camera in target_frame, metres"
    )
    parser.add_argument("--check", action="store_true", help="print the distance to the true point")
    parser.add_argument("--seconds", type=float, default=20, help="how long to listen")
    args = parser.parse_args()
    rclpy.init()
    gripper, end_s = Gripper(args), time.monotonic() + args.seconds
    while time.monotonic() < end_s:
        rclpy.spin_once(gripper, timeout_sec=0.1)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "points.jsonl").write_text("".join(json.dumps(line) + "\n" for line in gripper.lines))


if __name__ == "__main__":
    main()
