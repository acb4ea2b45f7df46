# SPDX-License-Identifier: Apache-2.0
"""Publishes a rendered colour and depth camera, for trying the node without hardware; Ctrl-C ends it.

A can moves back and forth on a table, and a box hides it in between; sam2_ros.synthetic.tabletop knows where it is.
"""

import argparse
import signal
import sys
from array import array
from pathlib import Path

import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from sam2_ros.media.overlay import write_png
from sam2_ros.synthetic.tabletop import CAMERA_IN_BASE, HEIGHT_PX, MATRIX, WIDTH_PX, Tabletop

VIEW = Path("out/examples/10_depth_camera/view.png")


def image_message(pixels: np.ndarray, encoding: str) -> Image:
    data = array("B", pixels.tobytes())
    return Image(height=HEIGHT_PX, width=WIDTH_PX, encoding=encoding, step=pixels.strides[0], data=data)


def broadcast_pose(node: Node) -> None:
    from tf2_ros import StaticTransformBroadcaster  # not in the wheels of `make env`

    pose = TransformStamped(header=Header(frame_id="base_link"), child_frame_id="camera")
    at, turn = pose.transform.translation, pose.transform.rotation
    at.x, at.y, at.z = CAMERA_IN_BASE[:3, 3].tolist()
    turn.x, turn.y, turn.z, turn.w = Rotation.from_matrix(CAMERA_IN_BASE[:3, :3]).as_quat().tolist()
    StaticTransformBroadcaster(node).sendTransform(pose)  # the node keeps its publisher


class Camera(Node):
    def __init__(self) -> None:
        super().__init__("rendered_camera")
        self.scene = Tabletop()
        self.image = self.create_publisher(Image, "/camera/image_raw", 1)
        self.depth = self.create_publisher(Image, "/camera/depth", 1)  # registered to the image
        self.info = self.create_publisher(CameraInfo, "/camera/camera_info", 1)
        self.create_timer(0.1, self.publish)

    def publish(self) -> None:
        now = self.get_clock().now()
        view = self.scene.view(now.nanoseconds * 1e-9)
        millimetres = np.rint(np.nan_to_num(view.depth_m) * 1000).astype("<u2")  # 0: no reading
        info = CameraInfo(height=HEIGHT_PX, width=WIDTH_PX, distortion_model="plumb_bob", d=[0.0] * 5)
        info.k, info.p = MATRIX.ravel().tolist(), np.hstack([MATRIX, np.zeros((3, 1))]).ravel().tolist()
        depth, image = image_message(millimetres, "16UC1"), image_message(view.image, "rgb8")
        for publisher, message in ((self.info, info), (self.depth, depth), (self.image, image)):
            message.header.stamp, message.header.frame_id = now.to_msg(), "camera"  # one stamp for all
            publisher.publish(message)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tf", action="store_true", help="broadcast base_link -> camera (needs tf2_ros)")
    args = parser.parse_args()
    VIEW.parent.mkdir(parents=True, exist_ok=True)
    write_png(VIEW, Tabletop().view(0).image)
    print(f"/camera/image_raw, /camera/depth, /camera/camera_info; a view: {VIEW}", flush=True)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGINT, lambda *_: sys.exit())
    camera = Camera()
    if args.tf:
        broadcast_pose(camera)
    rclpy.spin(camera)


if __name__ == "__main__":
    main()
