# SPDX-License-Identifier: Apache-2.0
"""Subscribes to the camera: keeps the newest image for the worker, and the last seconds of images for late prompts.

Knows the image topic, its QoS, and how long it has been silent; never converts an image.
"""

from __future__ import annotations

import math
import time
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from .convert import stamp_to_ns
from .diagnostics import CameraStatus, Rate, Statistics
from .frame_history import FrameHistory, StampedImage
from .limits import MAX_NAME_BYTES, shown
from .mailbox import Mailbox
from .prompt_queue import PromptQueue


class CameraSubscription:
    """The image subscription of one node, open while the node is active.

    Attributes:
        mailbox: the worker takes images from here.
        topic: resolved name of the image topic, also while the subscription is closed.
        rate: of the images received.
        out_of_order: number of images dropped because a newer one had already come.
        refused: number of images that never reached the mailbox, `out_of_order` included.
    """

    def __init__(self, node: LifecycleNode, statistics: Statistics, transport: str) -> None:
        """`transport`: "raw" subscribes to the resolved `image_raw`, "compressed" to its `/compressed`."""
        self._node = node
        self._statistics = statistics
        self._subscription: Any = None
        self._history: FrameHistory | None = None
        self._queue: PromptQueue | None = None
        self.choose(transport)
        self._last_image_s = -math.inf
        self._wanted_since_s = math.inf
        self.enabled = True
        self.mailbox: Mailbox[StampedImage] = Mailbox()
        self.rate = Rate()
        self.out_of_order = self.refused = 0

    def choose(self, transport: str) -> None:
        """Set the topic of the next `open`; see `__init__`."""
        self._compressed = transport == "compressed"
        topic = self._node.resolve_topic_name("image_raw")
        self.topic = f"{topic}/compressed" if self._compressed else topic

    def open(self, reliability: str, history: FrameHistory, queue: PromptQueue) -> None:
        """Subscribe."""
        self._history, self._queue = history, queue
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])
        self.mailbox.open()
        self.expect_images()
        message_type = CompressedImage if self._compressed else Image
        self._subscription = self._node.create_subscription(message_type, self.topic, self._on_image, qos)
        self._node.get_logger().info(f"tracking on {self.topic} ({reliability})")

    def close(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = self._history = self._queue = None

    def enable(self, on: bool) -> None:
        """Off: images are ignored, and a waiting image is discarded."""
        if on and not self.enabled:
            self.expect_images()
        self.enabled = on
        if not on:
            self.mailbox.clear()

    def expect_images(self) -> None:
        """From now on, a silent camera is an error."""
        self._wanted_since_s = time.monotonic()

    def status(self) -> CameraStatus:
        wanted = self._subscription is not None and self.enabled
        silent_s = time.monotonic() - max(self._last_image_s, self._wanted_since_s) if wanted else math.inf
        return CameraStatus(
            topic=self.topic,
            wanted=wanted,
            silent_s=silent_s,
            publishers=self._node.count_publishers(self.topic) if wanted else 0,
            any_image=self._last_image_s >= self._wanted_since_s,
        )

    def _on_image(self, message: Any) -> None:
        """Store the image and return. The worker converts and tracks it, unless a newer image comes first."""
        history, queue = self._history, self._queue
        if not self.enabled or history is None or queue is None:
            return
        self._last_image_s = time.monotonic()
        self.rate.tick(self._last_image_s)
        stamped = StampedImage(
            message, stamp_to_ns(message.header.stamp), message.header.frame_id, self._last_image_s
        )
        raw = isinstance(message, Image)
        format_name = message.encoding if raw else message.format
        for what, name in (("frame_id", stamped.frame_id), ("encoding", format_name)):
            if len(name) > MAX_NAME_BYTES:
                self._refuse(
                    f"{what} '{shown(name)}' has {len(name):,} characters, expected at most {MAX_NAME_BYTES}"
                )
                return
        form = (message.height, message.width, message.encoding) if raw else None
        if not history.add(stamped, form):
            self.out_of_order += 1
            self.refused += 1
            self._node.get_logger().warning(
                f"image out of order dropped ({self.out_of_order} so far): its stamp is "
                f"{(history.newest_stamp_ns - stamped.stamp_ns) / 1e9:.3f} s before the newest image's",
                throttle_duration_sec=1.0,
            )
            return
        if raw and message.height and message.width:
            queue.image_size((message.height, message.width))
        self.mailbox.put(stamped, keep=queue.awaits(stamped.stamp_ns))

    def _refuse(self, reason: str) -> None:
        """Count and log an image with an oversized name, as a corrupt image: every output would repeat that name."""
        self.refused += 1
        self._statistics.lost("skipped")
        self._node.get_logger().warning(
            f"image skipped ({self._statistics.losses['skipped']} so far): {reason}",
            throttle_duration_sec=1.0,
        )
