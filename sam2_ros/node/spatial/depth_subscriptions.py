# SPDX-License-Identifier: Apache-2.0
"""Subscribes to depth_image beside camera_info, and finds the message that belongs to a stamp.

Knows topics and QoS; does not know what is in an image. Filled by the executor's thread, read by the worker's; no call
waits for a message.
"""

from __future__ import annotations

import threading
from typing import Any

from rclpy.clock import ClockType
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image

from sam2_ros.node.convert import stamp_to_ns
from sam2_ros.node.packages import require
from sam2_ros.node.qos import sensor_qos, subscribe

from .camera_infos import CameraInfos, nearest_message
from .location import NoPositionError

# Depth images wait until their image is tracked: for seconds with a large model on a small computer.
DEPTH_BUDGET_BYTES = 64_000_000
DEPTHS_KEPT = (15, 120)  # at least and at most, whatever their size
_OLDEST = Time(nanoseconds=0, clock_type=ClockType.ROS_TIME)
_NEWEST = Time(nanoseconds=2**63 - 1, clock_type=ClockType.ROS_TIME)


class DepthSubscriptions:
    """The subscriptions of `depth_image`, with a message_filters cache, and of `camera_info`.

    Raises UserError if message_filters is not installed.
    """

    def __init__(self, node: Any, slop_s: float) -> None:
        filters = require("message_filters", "message_filters", "use_3d")
        self._node = node
        self._slop_s = slop_s
        self._lock = threading.Lock()
        self._new_cache = lambda size: filters.Cache(filters.SimpleFilter(), size)
        self._depth_bytes = 0  # of each depth image in the cache
        self._depths = self._new_cache(DEPTHS_KEPT[0])
        self._depths_in = subscribe(node, Image, "depth_image", self._on_depth, sensor_qos(depth=5))
        self.infos = CameraInfos(node)
        self.depth_topic: str = node.resolve_topic_name("depth_image")
        self.info_topic: str = self.infos.topic

    def destroy(self) -> None:
        self.infos.destroy()
        self._node.destroy_subscription(self._depths_in)

    def discontinuity(self) -> None:
        """Forget all after a jump in time. The last camera_info stays: it may be sent only once."""
        self.infos.discontinuity()
        with self._lock:
            self._depths = self._new_cache(depths_kept(self._depth_bytes))

    def _on_depth(self, message: Image) -> None:
        with self._lock:
            if len(message.data) != self._depth_bytes:
                self._depth_bytes = len(message.data)
                self._depths = self._new_cache(depths_kept(self._depth_bytes))
            self._depths.add(message)

    def depth_at(self, stamp_ns: int) -> Image:
        """The depth image nearest to the stamp; NoPositionError if none is within `slop_s`."""
        with self._lock:
            kept, room = self._depths.getInterval(_OLDEST, _NEWEST), self._depths.cache_size
        if not kept:
            raise NoPositionError(f"no depth image has come on {self.depth_topic}")
        message = nearest_message(kept, stamp_ns)
        difference_s = (stamp_to_ns(message.header.stamp) - stamp_ns) / 1e9
        if abs(difference_s) <= self._slop_s:
            return message
        expected = f"expected at most depth_slop = {self._slop_s:g} s"
        if difference_s > 0 and len(kept) == room:
            raise NoPositionError(
                f"the image is {difference_s:.3f} s older than the {room} depth images kept, {expected}: "
                "tracking is too slow for the rate of depth_image; use a smaller model, or throttle depth_image"
            )
        raise NoPositionError(
            f"the nearest depth image is {abs(difference_s):.3f} s {'newer' if difference_s > 0 else 'older'} "
            f"than the image, {expected}: the depth camera is silent, its clock differs from the colour camera's, or "
            "depth_slop is too small for its rate"
        )

    def info_at(self, stamp_ns: int, frame_id: str) -> CameraInfo:
        """As `CameraInfos.at`."""
        return self.infos.at(stamp_ns, frame_id)

    def silence(self) -> str:
        """Likely cause, if a topic has never had a message; empty if both had one."""
        with self._lock:
            silent = (not self._depths.getInterval(_OLDEST, _NEWEST), self.infos.silent)
        topics = {"depth_image": self.depth_topic, "camera_info": self.info_topic}
        for (name, topic), nothing in zip(topics.items(), silent, strict=True):
            if nothing and (count := self._node.count_publishers(topic)):
                return (
                    f"; {name} has {count} publisher(s): they send nothing, or their messages are too big for the "
                    "Fast DDS defaults (best-effort messages above half a megabyte are lost unless the camera's "
                    "process uses a profile such as config/fastdds.xml)"
                )
            if nothing:
                return f"; the topic has no publisher: check the camera and the remapping of {name}"
        return ""


def depths_kept(size_bytes: int) -> int:
    """Number of depth images of this size that are kept."""
    fewest, most = DEPTHS_KEPT
    return min(max(DEPTH_BUDGET_BYTES // max(size_bytes, 1), fewest), most)
