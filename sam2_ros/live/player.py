# SPDX-License-Identifier: Apache-2.0
"""Plays a camera to a live node: starts the node, publishes images on time, sends prompts, and collects results.

Does not know where images come from or how results are used; communicates by topics and services only.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2_ros.engine import Prompt
from sam2_ros.media.messages.cdr_header import header_stamp_ns
from sam2_ros.media.messages.diagnostics import node_values
from sam2_ros.share_folder import shared_folder

from .graph import POLL_S, LiveGraph, dds_environment, environment_set, own_domain_id, ros_arguments
from .node_process import NodeProcess
from .ros_messages import prompt_message

DIAGNOSTICS_TOPIC = "/diagnostics"
NODE_NAME = "sam2_node"
DISCOVERY_PATIENCE_S = 30.0
DIAGNOSTICS_PATIENCE_S = 2.5
COMPRESSED_SUFFIX = "/compressed"
"""Appended to a topic's name for compressed images, by image_transport and by the node."""

OnMessage = Callable[[str, int, bytes, float], None]
"""Called on the graph's thread with topic, stamp (ns), CDR bytes and arrival time (steady clock) of a message."""


@dataclass(frozen=True)
class LivePlayerConfig:
    """How to start the node, and how long to wait for it."""

    node_command: tuple[str, ...]  # starts the node; ROS arguments are appended
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    profiles_file: Path | None = None  # Fast DDS XML; without it, large best-effort images are lost
    start_timeout_s: float = 180.0  # imports, model load, warm-up


@dataclass(frozen=True)
class CameraImage:
    """An image to publish `due_s` seconds after the first one. `message` is an rclpy message or its CDR bytes."""

    due_s: float
    stamp_ns: int
    message: Any


@dataclass(frozen=True)
class TimedPrompts:
    """Prompts made on the image of `stamp_ns`, to publish `due_s` seconds after the first image (negative: before)."""

    due_s: float
    stamp_ns: int
    frame_id: str
    prompts: Sequence[Prompt]


def missing_ros() -> str | None:
    """Why a live replay is impossible in this Python environment, in one line; None if it is possible."""
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        return f"rclpy cannot be imported ({error}): install ROS 2 and source it"
    try:
        import sam2_ros_msgs.msg  # noqa: F401
    except ImportError as error:
        return (
            f"sam2_ros_msgs cannot be imported ({error}): build it with "
            "`colcon build --base-paths . sam2_ros_msgs` and source install/setup.bash"
        )
    return None


def fastdds_profile() -> Path:
    """Path of config/fastdds.xml, without which large images are lost. Raises UserError."""
    return shared_folder("config", "fastdds.xml") / "fastdds.xml"


def node_latency_ms(diagnostics: Mapping[str, str]) -> dict[str, float]:
    """Percentiles of the node's latency from its diagnostics: "p50", "p95", "p99" in ms; empty if not reported."""
    shares = {share: diagnostics.get(f"latency_ms_{share}") for share in ("p50", "p95", "p99")}
    return {share: float(value) for share, value in shares.items() if value is not None}


class LivePlayer:
    """Starts a node, acts as its camera and prompting user, and receives its results. A context manager; ends the node.

    Args:
        config: how to start the node.
        image_topic: without `COMPRESSED_SUFFIX`.
        log_path: file for the node's output.
        on_message: called with the messages of `objects_topic`, `label_topic` and /diagnostics.
        compressed: images are sensor_msgs/CompressedImage.

    Attributes:
        sent_s: stamp (ns) of each image -> time of publishing, steady clock.
        answered_s: stamp (ns) of each image -> arrival time of its first ~/objects message, steady clock.
        diagnostics: newest key-value pairs of the node's diagnostics.
        exit_status: exit status of the node, once it has ended.

    Raises:
        UserError: from every method, if the node does not start or has ended.
    """

    def __init__(
        self,
        config: LivePlayerConfig,
        image_topic: str,
        log_path: Path,
        on_message: OnMessage,
        compressed: bool = False,
    ) -> None:
        self._config = config
        self._base_topic = image_topic
        self._log_path = log_path
        self._on_message = on_message
        self._compressed = compressed
        self._diagnostics_count = 0
        self.image_topic = f"{image_topic}{COMPRESSED_SUFFIX}" if compressed else image_topic
        self.objects_topic, self.label_topic = f"/{NODE_NAME}/objects", f"/{NODE_NAME}/label_image"
        self._start_s = 0.0
        # The player's thread writes the first, the graph's thread the second; the other thread only reads.
        self.sent_s: dict[int, float] = {}
        self.answered_s: dict[int, float] = {}
        self.diagnostics: dict[str, str] = {}
        self.exit_status: int | None = None

    def __enter__(self) -> LivePlayer:
        config = self._config
        domain_id = own_domain_id()
        environment = dds_environment(domain_id, config.profiles_file)
        parameters = dict(config.parameters)
        if self._compressed:
            parameters["image_transport"] = "compressed"
        command = [*config.node_command, *ros_arguments(NODE_NAME, self._base_topic, parameters)]
        with contextlib.ExitStack() as stack:
            # The player's own images need the profile and the domain too: DDS reads them when the context is created.
            stack.enter_context(environment_set(environment))
            self.process = stack.enter_context(NodeProcess(command, self._log_path, environment))
            self.graph = stack.enter_context(LiveGraph("sam2_ros_player", domain_id, self.process, NODE_NAME))
            self._make_topics()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        with self._stack:
            pass
        self.exit_status = self.process.stop()

    def _make_topics(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sam2_ros_msgs.msg import PromptArray, TrackedObjectArray
        from sensor_msgs.msg import CompressedImage, Image

        node = self.graph.node
        # The usual QoS of camera drivers.
        camera_qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        image_type = CompressedImage if self._compressed else Image
        self._images = node.create_publisher(image_type, self.image_topic, camera_qos)
        self._prompts = node.create_publisher(PromptArray, f"/{NODE_NAME}/prompts", QoSProfile(depth=10))
        for message_type, topic in (
            (TrackedObjectArray, self.objects_topic),
            (Image, self.label_topic),
            (DiagnosticArray, DIAGNOSTICS_TOPIC),
        ):
            self._listen(message_type, topic)

    def _listen(self, message_type: type, topic: str) -> None:
        from rclpy.qos import QoSProfile

        # Messages stay CDR bytes: deserializing them would take time while images are played.
        def receive(cdr: bytes) -> None:
            arrived_s = time.monotonic()
            stamp_ns = header_stamp_ns(cdr)
            if topic == DIAGNOSTICS_TOPIC:
                self._read_diagnostics(cdr)
            self._on_message(topic, stamp_ns, cdr, arrived_s)
            if topic == self.objects_topic:
                self.answered_s.setdefault(stamp_ns, arrived_s)

        self.graph.node.create_subscription(message_type, topic, receive, QoSProfile(depth=50), raw=True)

    def _read_diagnostics(self, cdr: bytes) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.serialization import deserialize_message

        values = node_values([deserialize_message(cdr, DiagnosticArray)], f"/{NODE_NAME}")
        if values:  # otherwise the message is of another node
            self.diagnostics = {**self.diagnostics, **values}
            self._diagnostics_count += 1

    def wait_until_ready(self) -> None:
        """Wait until the node is active and all topics between it and the player are matched."""
        self.graph.wait_until_active(self._config.start_timeout_s)
        self.graph.wait_for(
            lambda: (
                self._images.get_subscription_count() > 0
                and self._prompts.get_subscription_count() > 0
                and self.graph.node.count_publishers(self.objects_topic) > 0
            ),
            DISCOVERY_PATIENCE_S,
            f"subscribing to {self.image_topic} and ~/prompts and offering ~/objects",
        )

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first image was due."""
        return time.monotonic() - self._start_s

    def play(
        self,
        images: Iterable[CameraImage],
        lead_s: float,
        prompts: Iterable[TimedPrompts] = (),
        on_sent: Callable[[CameraImage], None] = lambda image: None,
    ) -> None:
        """Publish every image and every prompt when it is due.

        Args:
            images: in order of `due_s`; the next one is taken when the one before is sent.
            lead_s: seconds from now until the first image is due.
            prompts: in order of `due_s`; sent before an image that is due at the same time.
            on_sent: called after each image.
        """
        waiting = list(prompts)
        for number, image in enumerate(images):
            if number == 0:  # not before the first image is there, which may take long
                self._start_s = time.monotonic() + lead_s
            while waiting and waiting[0].due_s <= image.due_s:
                given = waiting.pop(0)
                _sleep_until(self._start_s + given.due_s)
                self._prompts.publish(prompt_message(given.prompts, given.stamp_ns, given.frame_id))
            _sleep_until(self._start_s + image.due_s)
            self.process.check()
            self.sent_s[image.stamp_ns] = time.monotonic()
            self._images.publish(image.message)
            on_sent(image)

    def drain(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for the objects of the newest image, which the node never drops."""
        newest_ns = max(self.sent_s)
        self._wait_while(lambda: newest_ns not in self.answered_s, timeout_s)
        if not self.answered_s:
            return
        # The node publishes its counts and times once a second: wait for those that include the last image. Its label
        # image arrives meanwhile.
        count = self._diagnostics_count
        self._wait_while(lambda: self._diagnostics_count == count, DIAGNOSTICS_PATIENCE_S)

    def _wait_while(self, condition: Callable[[], bool], timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while condition() and time.monotonic() < deadline_s:
            self.process.check()
            time.sleep(POLL_S)


def _sleep_until(due_s: float) -> None:
    time.sleep(max(0.0, due_s - time.monotonic()))
