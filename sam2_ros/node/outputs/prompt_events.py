# SPDX-License-Identifier: Apache-2.0
"""Publishes ~/prompt_events: the outcome of each prompt, and the end of each object, for as long as the node lives.

Does not know where prompts come from. Outcomes are reported by any thread and published by the executor's, so that no
subscriber delays the inference thread.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable

from rclpy.duration import Duration
from rclpy.exceptions import InvalidHandle
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from sam2_ros.engine import Prompt
from sam2_ros.media.messages.prompt import fill_prompt
from sam2_ros.node.diagnostics import Statistics
from sam2_ros.node.frame_history import StampedImage
from sam2_ros.node.interfaces import Prompt as PromptMessage
from sam2_ros.node.interfaces import PromptEvent, PromptPoint
from sam2_ros.node.prompt_outcome import Outcome, PromptOutcome
from sam2_ros.node.qos import OVERRIDABLE

# In a burst, the publisher waits for its subscribers before it replaces events that they may not have yet.
BURST = 50
BURST_PATIENCE_S = 0.02

RCLError = rclpy_implementation.RCLError


class PromptEvents:
    """The publisher of one node. `newest`: the newest camera image, None before the first."""

    def __init__(self, node: Node, statistics: Statistics, newest: Callable[[], StampedImage | None]) -> None:
        self._node = node
        self._statistics = statistics
        self._newest = newest
        self._waiting: deque[tuple[PromptOutcome, Header]] = deque()
        self._publisher = node.create_publisher(
            PromptEvent,
            "~/prompt_events",
            QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL),  # 100: for late subscribers
            qos_overriding_options=OVERRIDABLE,
        )
        self._wake = node.create_guard_condition(self.flush)

    def report(self, outcome: PromptOutcome) -> None:
        """Publish this soon. Callable from any thread; returns at once."""
        stamp_ns, frame_id = outcome.stamp_ns, outcome.frame_id
        if outcome.outcome == Outcome.REMOVED and (newest := self._newest()) is not None:
            stamp_ns, frame_id = newest.stamp_ns, newest.frame_id
        header = Header(frame_id=frame_id)
        header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        self._waiting.append((outcome, header))
        with contextlib.suppress(InvalidHandle):  # the node has ended
            self._wake.trigger()

    def flush(self) -> None:
        """Publish what was reported, in order. Called by the executor's thread only."""
        sent = 0
        while self._waiting:
            outcome, header = self._waiting.popleft()
            try:
                self._publisher.publish(event_message(outcome, header))
                self._statistics.sent()
                sent += 1
                if sent % BURST == 0:
                    self._wait_for_subscribers()
            except (RCLError, InvalidHandle) as error:
                if not self._node.context.ok():
                    return
                self._statistics.lost("not_published")
                self._node.get_logger().warning(
                    f"message on {self._publisher.topic_name} dropped: {error}", throttle_duration_sec=1.0
                )

    def _wait_for_subscribers(self) -> None:
        self._publisher.wait_for_all_acked(Duration(seconds=BURST_PATIENCE_S))


def event_message(outcome: PromptOutcome, header: Header) -> PromptEvent:
    """The message of one outcome; its prompt carries the same header."""
    prompt = outcome.prompt or Prompt(outcome.id, class_id=outcome.class_id)
    message = PromptEvent(header=header, id=outcome.id, source=outcome.source)
    try:
        message.prompt = fill_prompt(PromptMessage(header=header), prompt, PromptPoint)
    except (
        OverflowError,
        AssertionError,
        ValueError,
    ):  # a rejected prompt whose numbers do not fit the message
        bare = Prompt(outcome.id, class_id=outcome.class_id)
        message.prompt = fill_prompt(PromptMessage(header=header), bare, PromptPoint)
    message.outcome, message.reason = int(outcome.outcome), outcome.reason
    return message
