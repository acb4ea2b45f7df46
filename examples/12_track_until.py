# SPDX-License-Identifier: Apache-2.0
"""Waits for objects by three actions at once, as the leaves of a behaviour tree do, and cancels the one left over.

Start a node and the rendered camera first, in which a can passes behind a box:
    sam2_node --ros-args -r image_raw:=/camera/image_raw -p lost_after:=0.5
    python examples/10_depth_camera.py
"""

import argparse
import json
import time
from pathlib import Path

import rclpy
from builtin_interfaces.msg import Duration
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sam2_ros_msgs.action import TrackUntil
from sam2_ros_msgs.msg import Prompt
from sensor_msgs.msg import Image

from sam2_ros.engine.postprocess import tight_box
from sam2_ros.synthetic.tabletop import Tabletop

OUT = Path("out/examples/12_track_until/goals.json")
ENDS = {4: "SUCCESS", 5: "CANCELLED", 6: "FAILURE"}  # of action_msgs/GoalStatus


class Tree(Node):
    """Each leaf runs until the result of its goal has come."""

    def __init__(self, name: str) -> None:
        super().__init__("behaviour_tree")
        self.sent, self.results, self.scene = {}, {}, Tabletop()  # the first two by leaf
        self.client = ActionClient(self, TrackUntil, f"/{name}/track_until")
        self.create_subscription(Image, "/camera/image_raw", self.on_image, qos_profile_sensor_data)

    def on_image(self, image: Image) -> None:
        can = self.scene.view(image.header.stamp.sec + image.header.stamp.nanosec * 1e-9).can
        if self.sent or can.sum() < 2000 or not self.client.server_is_ready():
            return  # the can must be in full view
        ball = Prompt(header=image.header, id="ball", box=(343.0, 139.0, 393.0, 186.0))
        can = Prompt(header=image.header, id="can", box=[float(edge) for edge in tight_box(can)])
        self.start("the ball is visible", ball, TrackUntil.Goal.VISIBLE, 20)
        self.start("the can is hidden", can, TrackUntil.Goal.LOST, 20)
        self.start("watch", ball, TrackUntil.Goal.DURATION, 600)

    def start(self, leaf: str, prompt: Prompt, until: int, timeout_s: int) -> None:
        goal = TrackUntil.Goal(prompt=prompt, until=until, timeout=Duration(sec=timeout_s))
        self.sent[leaf] = self.client.send_goal_async(goal)

    def tick(self) -> bool:
        """False when all leaves have ended; "watch" is halted when the others have."""
        for leaf, sent in self.sent.items():
            if sent.done() and leaf not in self.results:
                self.results[leaf] = sent.result().get_result_async()
        running = [leaf for leaf, result in self.results.items() if not result.done()]
        if running == ["watch"] and len(self.results) == 3:
            self.sent["watch"].result().cancel_goal_async()
        return bool(running) or len(self.results) < 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--node", default="sam2", help="name of the node")
    args = parser.parse_args()
    rclpy.init()
    tree, end_s = Tree(args.node), time.monotonic() + 60
    while tree.tick() and time.monotonic() < end_s:
        rclpy.spin_once(tree, timeout_sec=0.1)
    replies = {leaf: result.result() for leaf, result in tree.results.items() if result.done()}
    ended = {leaf: f"{ENDS.get(reply.status)}: {reply.result.message}" for leaf, reply in replies.items()}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(ended, indent=1) + "\n")
    print(ended)


if __name__ == "__main__":
    main()
