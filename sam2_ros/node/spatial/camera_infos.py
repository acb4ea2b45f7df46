# SPDX-License-Identifier: Apache-2.0
"""Subscribes to camera_info, and finds the message that belongs to a stamp.

Knows the topic and its QoS; does not know what the numbers mean. Filled by the executor's thread, read by any; no call
waits for a message.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo

from sam2_ros.node.convert import stamp_to_ns
from sam2_ros.node.qos import sensor_qos, subscribe

from .location import NoPositionError

INFOS_KEPT = 30
LOOK_OUT_PERIOD_S = 0.5
_LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class CameraInfos:
    """The subscription of `camera_info` and its last messages."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self.topic: str = node.resolve_topic_name("camera_info")
        self._lock = threading.Lock()
        self._kept: deque[CameraInfo] = deque(maxlen=INFOS_KEPT)  # in order of arrival
        self._subscription = subscribe(node, CameraInfo, "camera_info", self._on_info, sensor_qos(depth=5))
        self._latched: Any = None
        self._look_out = node.create_timer(
            LOOK_OUT_PERIOD_S, self._look_for_latched, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def destroy(self) -> None:
        self._node.destroy_timer(self._look_out)
        for subscription in (self._subscription, self._latched):
            if subscription is not None:
                self._node.destroy_subscription(subscription)

    def _look_for_latched(self) -> None:
        """Subscribe with transient_local if camera_info was published once, before this node subscribed.

        Not from the start: most publishers are volatile, and each would log a warning about the incompatible
        subscription.
        """
        if self.silent:
            publishers = self._node.get_publishers_info_by_topic(self.topic)
            kept = (publisher.qos_profile.durability for publisher in publishers)
            if DurabilityPolicy.TRANSIENT_LOCAL not in kept:
                return
            self._latched = self._node.create_subscription(
                CameraInfo, "camera_info", self._on_info, _LATCHED_QOS
            )
        self._look_out.cancel()

    def discontinuity(self) -> None:
        """After a jump in time: keep only the last message, which may have been sent only once."""
        with self._lock:
            while len(self._kept) > 1:
                self._kept.popleft()

    def _on_info(self, message: CameraInfo) -> None:
        with self._lock:
            self._kept.append(message)

    @property
    def silent(self) -> bool:
        """True if no message has come."""
        return not self._kept

    def at(self, stamp_ns: int, frame_id: str) -> CameraInfo:
        """The message of the image's frame nearest to the stamp, at any distance: intrinsics change rarely.

        Raises NoPositionError if there is none.
        """
        with self._lock:
            kept = list(self._kept)
        if not kept:
            raise NoPositionError(f"no camera_info has come on {self.topic}")
        own = [info for info in kept if not frame_id or info.header.frame_id in ("", frame_id)]
        if not own:
            raise NoPositionError(
                f"camera_info is of frame '{kept[-1].header.frame_id}', expected the image's '{frame_id}': "
                "remap camera_info to the one that is published beside the image"
            )
        return nearest_message(own, stamp_ns)


def nearest_message(messages: list[Any], stamp_ns: int) -> Any:
    """The message with the stamp nearest to `stamp_ns`; of equal ones, the last received."""
    return min(reversed(messages), key=lambda message: abs(stamp_to_ns(message.header.stamp) - stamp_ns))
