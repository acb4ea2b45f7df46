# SPDX-License-Identifier: Apache-2.0
"""Finds a running node on the ROS graph, subscribes to its camera and its outputs, and calls its services.

A thread of its own takes messages and hands them on serialized. Does not know what is shown, or when.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sam2_ros.errors import UserError, one_line
from sam2_ros.media.messages.diagnostics import SEPARATOR, TRACKING
from sam2_ros.text import readable

from .config import LiveConfig
from .names import NodeNames, names_of, nodes_that_track
from .recording import LivePrompt

LOOK_EVERY_S = 0.5
REPLY_S = 10.0
STALE_S = 4.0  # a node publishes diagnostics once a second
NS_PER_S = 1_000_000_000
WARN = 30  # of rcl_interfaces/Log, and above


class NodeLink:
    """The link to one node, which may come, go and come back. Thread-safe.

    Args:
        config: which node.
        on_image: called on the link's thread with each serialized image, and whether it is a CompressedImage.
        on_objects: with each serialized TrackedObjectArray, and the ROS time in nanoseconds.
        on_log: with each warning of the node, one line.
        on_look: after each look at the graph, twice a second; True if images of another camera, or after a pause, come
            from now on.

    Attributes:
        watched: somebody looks. Otherwise nothing is subscribed to but diagnostics: a node does not compute what has no
            subscriber.
    """

    def __init__(
        self,
        config: LiveConfig,
        on_image: Callable[[bytes, bool], None],
        on_objects: Callable[[bytes, int], None],
        on_log: Callable[[str], None],
        on_look: Callable[[bool], None],
    ) -> None:
        self._config = config
        self._on_image, self._on_objects, self._on_log, self._on_look = on_image, on_objects, on_log, on_look
        self._names = NodeNames()
        self._others: list[str] = []
        self._present = False
        self.watched = self._was_watched = False
        self._subscriptions: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self._values: dict[str, str] = {}
        self._worst = (0, "")
        self._heard_s = self._found_s = float("-inf")

    # Start and end

    def start(self) -> None:
        """Join the graph of ROS_DOMAIN_ID."""
        import rclpy
        from rclpy.clock import Clock, ClockType
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        name = f"sam2_ros_ui_{os.getpid()}"
        self._node = rclpy.create_node(name, context=self._context, start_parameter_services=False)
        self._node.create_timer(LOOK_EVERY_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._listen_to_log()
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="ros", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown(timeout_sec=2.0)
        self._context.try_shutdown()
        self._thread.join(timeout=5.0)

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException

        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    # What is known of the node

    @property
    def image_topic(self) -> str:
        """The node's camera; "" before it is known."""
        return self._names.image

    @property
    def values(self) -> dict[str, str]:
        """The node's newest diagnostics; empty if they are old."""
        return self._values if self._is_heard() else {}

    def _is_heard(self) -> bool:
        return time.monotonic() - self._heard_s < STALE_S

    def problem(self, results_come: bool) -> str:
        """Why the node shows nothing or works badly, one line; "" if it does not."""
        node = self._config.node
        if not self._present:
            here = f"; {', '.join(self._others)} is here: give it as --node" if self._others else ""
            return f"no node {node} yet: start one with `{start_command(self._config)}`{here}"
        if not results_come and not self._is_heard():
            if time.monotonic() - self._found_s < STALE_S:
                return f"{node} is here, waiting for its first word"
            return f"{node} has not been heard for some seconds: it has ended, or hangs"
        state = self.values.get("state", "active")
        level, text = self._worst
        if level > 1 and text:
            return f"{node}: {text}"
        if state == "unconfigured":
            return f"{node} is unconfigured: it loads its model, or waits for `ros2 lifecycle set {node} configure`"
        if state != "active":
            return f"{node} is {state}: `ros2 lifecycle set {node} activate` lets it track"
        if self.values.get("enable", "true") == "false":
            return f"{node} is switched off: `ros2 param set {node} enable true`"
        return f"{node}: {text}" if level and text else ""

    # The graph

    def _look(self) -> None:
        """Look who is there. Runs on the link's thread, as all callbacks do."""
        try:
            changed = self._connect()
        except Exception as error:  # the graph may change between two questions
            self._node.get_logger().debug(f"look at the graph: {one_line(error)}")
            return
        self._on_look(changed)

    def _connect(self) -> bool:
        config, node = self._config, self._node
        here = (config.name, config.namespace) in node.get_node_names_and_namespaces()
        if not here:
            self._others = nodes_that_track(node, config.node)
        if here and not self._present:
            self._found_s = time.monotonic()
        self._present = here
        if not here:
            return False
        names = names_of(node, config.name, config.namespace, self.values.get("topic", ""), self._names)
        watched = self.watched
        changed = names.image != self._names.image or (watched and not self._was_watched)
        self._names, self._was_watched = names, watched
        self._listen_to_node(names if watched else replace(names, image="", objects=""))
        self._make_clients(names)
        return changed

    def _listen_to_node(self, names: NodeNames) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import ReliabilityPolicy
        from sam2_ros_msgs.msg import TrackedObjectArray
        from sensor_msgs.msg import CompressedImage, Image

        best_effort = ReliabilityPolicy.BEST_EFFORT  # matches every camera, and never slows one down
        compressed = names.compressed
        self._subscribe(
            "image",
            names.image,
            CompressedImage if compressed else Image,
            lambda cdr: self._on_image(cdr, compressed),
            best_effort,
        )
        # As the node offers it: messages of masks are large, and reliable ones are sent again.
        offered = self._node.get_publishers_info_by_topic(names.objects) if names.objects else []
        reliable = all(one.qos_profile.reliability == ReliabilityPolicy.RELIABLE for one in offered)
        reliability = ReliabilityPolicy.RELIABLE if reliable else best_effort
        self._subscribe("objects", names.objects, TrackedObjectArray, self._take_objects, reliability)
        self._subscribe(
            "diagnostics", names.diagnostics, DiagnosticArray, self._take_diagnostics, best_effort, raw=False
        )

    def _subscribe(
        self,
        what: str,
        topic: str,
        message_type: type,
        callback: Callable[[Any], None],
        reliability: Any,
        raw: bool = True,
    ) -> None:
        from rclpy.qos import QoSProfile

        before, key = self._subscriptions.get(what), (topic, message_type, reliability)
        if before is not None and before[0] == key:
            return
        if before is not None:
            self._node.destroy_subscription(before[1])
            del self._subscriptions[what]
        if topic:
            qos = QoSProfile(depth=1 if raw else 10, reliability=reliability)
            made = self._node.create_subscription(message_type, topic, callback, qos, raw=raw)
            self._subscriptions[what] = (key, made)

    def _make_clients(self, names: NodeNames) -> None:
        """Make the clients before they are needed.

        A service that has discovered a client's request topic, but not yet its reply topic, loses the reply
        (https://github.com/ros2/rmw_fastrtps/issues/842).
        """
        from sam2_ros_msgs.srv import AddObjects, RemoveObjects
        from std_srvs.srv import Trigger

        for what, service_type, name in (
            ("add", AddObjects, names.add),
            ("remove", RemoveObjects, names.remove),
            ("reset", Trigger, names.reset),
        ):
            before = self._clients.get(what)
            if not name or (before is not None and before[0] == name):
                continue
            if before is not None:
                self._node.destroy_client(before[1])
            self._clients[what] = (name, self._node.create_client(service_type, name))

    # Messages

    def _take_objects(self, cdr: bytes) -> None:
        self._on_objects(cdr, self._node.get_clock().now().nanoseconds)

    def _take_diagnostics(self, message: Any) -> None:
        values: dict[str, str] = {}
        worst = (0, "")
        for status in message.status:
            owner, _, name = status.name.rpartition(SEPARATOR)
            if owner != self._config.node:
                continue
            worst = max(worst, (status.level[0], status.message), key=lambda each: each[0])
            mine = {entry.key: entry.value for entry in status.values}
            values = {**values, **mine} if name == TRACKING else {**mine, **values}
        if values:
            self._values, self._worst, self._heard_s = values, worst, time.monotonic()

    def _listen_to_log(self) -> None:
        from rcl_interfaces.msg import Log
        from rclpy.qos import QoSProfile

        logger = self._config.node.strip("/").replace("/", ".")

        def take(message: Any) -> None:
            if message.name == logger and message.level >= WARN:
                self._on_log(_line(message.msg))

        self._node.create_subscription(Log, "/rosout", take, QoSProfile(depth=10))

    # Requests

    def add(self, prompt: LivePrompt) -> str:
        """Send a prompt; returns the id of its object. Raises UserError with the node's reason."""
        from sam2_ros_msgs.srv import AddObjects

        reply = self._call("add", AddObjects.Request(prompts=[message_of(prompt)]))
        if not reply.success:
            raise UserError(f"{self._config.node} refused: {_line(reply.message)}")
        return str(reply.ids[0])

    def remove(self, ids: Sequence[str]) -> None:
        """Remove objects. Raises UserError with the node's reason."""
        from sam2_ros_msgs.srv import RemoveObjects

        reply = self._call("remove", RemoveObjects.Request(ids=list(ids)))
        if not reply.success:
            raise UserError(f"{self._config.node} refused: {_line(reply.message)}")

    def reset(self) -> str:
        """Remove all objects; returns the node's word. Raises UserError with its reason."""
        from std_srvs.srv import Trigger

        reply = self._call("reset", Trigger.Request())
        if not reply.success:
            raise UserError(f"{self._config.node} refused: {_line(reply.message)}")
        return str(reply.message)

    def _call(self, what: str, request: Any) -> Any:
        """Call a service from any thread but the link's own."""
        node = self._config.node
        _, client = self._clients.get(what, ("", None))
        if not self._present or client is None or not client.service_is_ready():
            raise UserError(
                f"nothing was sent: {self.problem(False) or f'{node} offers no such service yet'}"
            )
        done = threading.Event()
        reply = client.call_async(request)
        reply.add_done_callback(lambda _: done.set())
        if not done.wait(REPLY_S):
            reply.cancel()
            raise UserError(f"{node} did not answer within {REPLY_S:.0f} s: it hangs, or has ended")
        return reply.result()


def start_command(config: LiveConfig) -> str:
    """The command that starts the node under its name."""
    name = "" if config.name == "sam2" else f" name:={config.name}"
    namespace = "" if config.namespace == "/" else f" namespace:={config.namespace}"
    return f"ros2 launch sam2_ros sam2.launch.py image:=/your/camera/topic{name}{namespace}"


def _line(text: str) -> str:
    return readable(" ".join(text.split()))


def message_of(prompt: LivePrompt) -> Any:
    """A prompt as a sam2_ros_msgs/Prompt, which carries the header of its image."""
    from sam2_ros_msgs.msg import Prompt, PromptPoint

    message = Prompt(id=prompt.id)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(prompt.stamp_ns, NS_PER_S)
    message.header.frame_id = prompt.frame_id
    if prompt.point is not None:
        x, y, positive = prompt.point
        message.points = [PromptPoint(x=float(x), y=float(y), positive=positive)]
    if prompt.box is not None:
        message.box = [float(edge) for edge in prompt.box]
    return message
