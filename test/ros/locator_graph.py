# SPDX-License-Identifier: Apache-2.0
"""A graph for tests of the ObjectLocator: a node that has one, and a camera that publishes depth and camera_info.

Does not judge positions. Needs ROS and message_filters.
"""

import contextlib
import os
import threading
import time

import numpy as np
import rclpy
from depth_scenes import camera_info, depth_message, frame, pinhole_slopes, tracked, wall
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from ros_domains import next_domain
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from sam2_ros.node.spatial.location import NoPositionError
from sam2_ros.node.spatial.object_locator import ObjectLocator

SLOPES = pinhole_slopes()
TIMEOUT_S = 30.0
T0_NS = 1_000_000_000_000


def header(stamp_ns: int = T0_NS, frame_id: str = "camera") -> Header:
    made = Header(frame_id=frame_id)
    made.stamp.sec, made.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    return made


def depth_of(body: np.ndarray, stamp_ns: int = T0_NS, frame_id: str = "camera") -> Image:
    """The body before a wall at 2 m."""
    fields = depth_message(np.minimum(body, wall(SLOPES, 2.0)), "16UC1")
    message = Image(height=fields.height, width=fields.width, encoding=fields.encoding, step=fields.step)
    message.header, message.data = header(stamp_ns, frame_id), fields.data
    return message


def info(stamp_ns: int = T0_NS, frame_id: str = "camera", focal: float = 300.0) -> CameraInfo:
    fields = camera_info()
    message = CameraInfo(height=fields.height, width=fields.width, distortion_model="plumb_bob")
    k = fields.k.copy()
    k[[0, 4]] = focal
    message.header, message.k, message.p = header(stamp_ns, frame_id), k, fields.p
    return message


def located(spatial: ObjectLocator, result, height_px: int, width_px: int, image_header):
    """Locations with the transform known now."""
    observed = spatial.observe(result, height_px, width_px, image_header)
    try:
        return spatial.locate(observed, spatial.transform(observed))
    except NoPositionError as error:
        return spatial.locate(observed, error)


class LocatorGraph:
    """A node with an ObjectLocator, and a camera that publishes. This thread does the worker's part."""

    def __init__(self) -> None:
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=next_domain())
        remap = ["--ros-args", "-r", "depth_image:=/eye/depth"]
        self.node = rclpy.create_node("node", context=self.context, cli_args=remap)
        self.camera = rclpy.create_node("camera", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        for node in (self.node, self.camera):
            self.executor.add_node(node)
        self.spinner = threading.Thread(target=self._spin, daemon=True)
        self.spinner.start()
        self.spatial: ObjectLocator | None = None

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def close(self) -> None:
        if self.spatial is not None:
            self.spatial.destroy()
        self.executor.shutdown(timeout_sec=2.0)
        self.context.try_shutdown()
        self.spinner.join(5.0)

    def start(self, target_frame: str = "", slop_s: float = 0.05, publish: bool = True) -> ObjectLocator:
        self.spatial = ObjectLocator(self.node, 1000, slop_s, target_frame, rectified=False)
        if publish:
            self.depth = self.camera.create_publisher(Image, "/eye/depth", 50)
            self.info = self.camera.create_publisher(CameraInfo, "camera_info", 50)
            self.wait(lambda: self.depth.get_subscription_count() and self.info.get_subscription_count())
        return self.spatial

    def wait(self, condition):
        deadline_s = time.monotonic() + TIMEOUT_S
        while not (value := condition()):
            assert time.monotonic() < deadline_s, self.spatial and self.spatial.line()
            time.sleep(0.005)
        return value

    def locate(
        self, body: np.ndarray, stamp_ns: int = T0_NS, frame_id: str = "camera", presence: float = 7.0
    ):
        result = frame(tracked(np.isfinite(body), presence=presence), stamp_s=stamp_ns / 1e9)
        return located(self.spatial, result, *body.shape, header(stamp_ns, frame_id))

    def until_located(self, body, stamp_ns: int = T0_NS, frame_id: str = "camera"):
        """Messages take time to arrive: repeat until there is a position."""
        return self.wait(lambda: (found := self.locate(body, stamp_ns, frame_id)).locations and found)

    def until_reason(self, text: str, body, **image) -> str:
        return self.wait(lambda: text in (found := self.locate(body, **image)).reason and found.reason)
