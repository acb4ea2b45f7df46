# SPDX-License-Identifier: Apache-2.0
"""Prompts the running node on an image of the camera, and prints every object's state in the images after that.

Start a node and a camera first, for example the rendered one, on which the box is around the blue ball:
    sam2_node --ros-args -r image_raw:=/camera/image_raw
    python examples/10_depth_camera.py
"""

import argparse
import json
import time
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sam2_ros_msgs.msg import ObjectStatusArray, Prompt
from sam2_ros_msgs.srv import AddObjects
from sensor_msgs.msg import Image

OUT = Path("out/examples/06_ros_client")
STATES = ("PENDING", "TRACKING", "OCCLUDED", "LOST")


class Client(Node):
    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__("sam2_client")
        self.args, self.asked_s, self.seen, self.lines = args, 0.0, False, []
        self.add_objects = self.create_client(AddObjects, f"/{args.node}/add_objects")
        self.create_subscription(ObjectStatusArray, f"/{args.node}/status", self.on_status, 10)
        self.create_subscription(Image, args.image, self.on_image, qos_profile_sensor_data)

    def on_image(self, image: Image) -> None:
        # Again while the object is not there: a best-effort image that came here may not have reached the node.
        if self.seen or time.monotonic() < self.asked_s + 2 or not self.add_objects.service_is_ready():
            return
        # The header names the image on which the box was drawn: a prompt that comes late is applied there, too.
        prompt = Prompt(header=image.header, id=self.args.id, box=self.args.box)
        self.add_objects.call_async(AddObjects.Request(prompts=[prompt])).add_done_callback(self.on_reply)
        self.asked_s = time.monotonic()

    def on_reply(self, future: rclpy.task.Future) -> None:
        reply = future.result()
        print(f"accepted: {list(reply.ids)}" if reply.success else f"rejected: {reply.message}", flush=True)

    def on_status(self, message: ObjectStatusArray) -> None:
        stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        for obj in message.objects:
            self.seen |= obj.id == self.args.id
            roi = obj.roi
            line = {"stamp": round(stamp_s, 3), "id": obj.id, "state": STATES[obj.state]}
            line["box"] = [roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height]
            if obj.has_position:  # with the parameter use_3d
                at = obj.pose.position
                line["position_m"] = [round(axis, 3) for axis in (at.x, at.y, at.z)]
            self.lines.append(json.dumps(line))
            print(self.lines[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--node", default="sam2", help="name of the node")
    parser.add_argument("--image", default="/camera/image_raw", help="topic of the camera")
    parser.add_argument("--id", default="ball", help="name of the object")
    parser.add_argument("--box", type=float, nargs=4, default=[343.0, 139.0, 393.0, 186.0], help="in pixels")
    parser.add_argument("--seconds", type=float, default=10, help="how long to listen")
    args = parser.parse_args()
    rclpy.init()
    client, end_s = Client(args), time.monotonic() + args.seconds
    while time.monotonic() < end_s:
        rclpy.spin_once(client, timeout_sec=0.1)
    if not client.lines:
        raise SystemExit(f"no object from /{args.node}: are the node and {args.image} running? See --help.")
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "status.jsonl").write_text("\n".join(client.lines) + "\n")


if __name__ == "__main__":
    main()
