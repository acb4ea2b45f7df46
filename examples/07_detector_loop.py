# SPDX-License-Identifier: Apache-2.0
"""Runs a detector beside the tracker: finds an orange thing with OpenCV in every image, and sends its box to the node.

With vision_msgs the box goes to ~/detections, and the node decides whether it needs it; without, to ~/prompts while the
node does not track the object. Start a node and a camera first, as for 06_ros_client.py.
"""

import argparse
import time

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sam2_ros_msgs.msg import ObjectStatusArray, Prompt, PromptArray
from sensor_msgs.msg import Image

try:
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose
except ImportError:
    Detection2DArray = None

STATES = ("PENDING", "TRACKING", "OCCLUDED", "LOST")


def detect(image_rgb: np.ndarray) -> list[float] | None:
    """x0, y0, x1, y1 of the largest orange region; None without one. Put your detector here."""
    hue, saturation, _ = cv2.split(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2HSV))
    orange = ((hue < 18) & (saturation > 180)).astype(np.uint8)
    orange = cv2.morphologyEx(orange, cv2.MORPH_CLOSE, np.ones((41, 5)))  # across the can's white band
    _, _, regions, _ = cv2.connectedComponentsWithStats(orange)
    x, y, width, height, area = max(regions[1:].tolist(), key=lambda region: region[4], default=[0] * 5)
    return [float(edge) for edge in (x, y, x + width, y + height)] if area > 1000 else None


class Detector(Node):
    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__("orange_detector")
        self.state, self.asked_s = "", 0.0
        topic = f"/{args.node}/{'detections' if Detection2DArray else 'prompts'}"
        self.publisher = self.create_publisher(Detection2DArray or PromptArray, topic, 10)
        self.create_subscription(ObjectStatusArray, f"/{args.node}/status", self.on_status, 10)
        self.create_subscription(Image, args.image, self.on_image, qos_profile_sensor_data)
        print(f"boxes go to {topic}", flush=True)

    def on_status(self, message: ObjectStatusArray) -> None:
        states = [STATES[obj.state] for obj in message.objects if obj.class_id == "orange"]
        if states and states[0] != self.state:
            print(f"{message.header.stamp.sec} s: {states[0]}", flush=True)
        self.state = states[0] if states else ""

    def on_image(self, message: Image) -> None:
        box = detect(np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3))  # rgb8
        if box is not None and Detection2DArray is not None:
            found = Detection2D(header=message.header, results=[ObjectHypothesisWithPose()])
            found.bbox.center.position.x, found.bbox.size_x = (box[0] + box[2]) / 2, box[2] - box[0]
            found.bbox.center.position.y, found.bbox.size_y = (box[1] + box[3]) / 2, box[3] - box[1]
            found.results[0].hypothesis.class_id, found.results[0].hypothesis.score = "orange", 0.9
            self.publisher.publish(Detection2DArray(header=message.header, detections=[found]))
        elif box is not None and self.state != "TRACKING" and time.monotonic() > self.asked_s + 1:
            prompts = [Prompt(id="orange", class_id="orange", box=box)]
            self.publisher.publish(PromptArray(header=message.header, prompts=prompts))
            self.asked_s = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--node", default="sam2", help="name of the node")
    parser.add_argument("--image", default="/camera/image_raw", help="topic of the camera")
    parser.add_argument("--seconds", type=float, default=20, help="how long to run")
    args = parser.parse_args()
    rclpy.init()
    detector, end_s = Detector(args), time.monotonic() + args.seconds
    while time.monotonic() < end_s:
        rclpy.spin_once(detector, timeout_sec=0.1)


if __name__ == "__main__":
    main()
