# SPDX-License-Identifier: Apache-2.0
"""The client side of a live ROS graph: an own domain, one rclpy node spun by a thread, waits with time limits.

Knows the lifecycle of the node process; does not know images, prompts or results.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sam2_ros.errors import UserError

from .node_process import NodeProcess

POLL_S = 0.02
UNCONFIGURED_PATIENCE_S = 5.0
REPLY_PATIENCE_S = 2.0


def own_domain_id() -> int:
    """A ROS_DOMAIN_ID for this process, 50..99.

    The ports of ids 0-101 are below Linux's ephemeral port range; people and tests use the low ids.
    """
    return 50 + os.getpid() % 50


def dds_environment(domain_id: int, profiles_file: Path | None) -> dict[str, str]:
    """Environment variables that the node's process and this one need before either creates a context."""
    environment = {
        "ROS_DOMAIN_ID": str(domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PYTHONUNBUFFERED": "1",
    }
    if profiles_file is not None:
        # Jazzy and earlier know only the old name; later versions warn about it.
        old = os.environ.get("ROS_DISTRO", "") in ("humble", "iron", "jazzy")
        name = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
        environment[name] = str(profiles_file)
    return environment


@contextlib.contextmanager
def environment_set(changes: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process, and restore them afterwards."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def ros_arguments(
    node_name: str, image_topic: str, parameters: Mapping[str, str | int | float | bool]
) -> list[str]:
    """The ROS arguments of a node's command line: name, image topic, parameters."""
    arguments = ["--ros-args", "-r", f"__node:={node_name}", "-r", f"image_raw:={image_topic}"]
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        arguments += ["-p", f"{name}:={text}"]
    return arguments


class LiveGraph:
    """A context manager: `node` is an rclpy node of this process, in its own context, spun by a thread.

    Args:
        name: name of the node in this process.
        domain_id: ROS_DOMAIN_ID of both nodes.
        process: the peer's process; every wait fails if it ends.
        peer_name: name of the node in that process.
    """

    def __init__(self, name: str, domain_id: int, process: NodeProcess, peer_name: str) -> None:
        self._name = name
        self._domain_id = domain_id
        self._process = process
        self._peer_name = peer_name
        self._clients: dict[str, Any] = {}
        self._unconfigured_since_s = math.inf

    def __enter__(self) -> LiveGraph:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=self._domain_id)
        self.node = rclpy.create_node(self._name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._spinner = threading.Thread(target=self._spin, name=f"{self._name}-executor", daemon=True)
        self._spinner.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._executor.shutdown(timeout_sec=2.0)
        self._context.try_shutdown()
        self._spinner.join(timeout=5.0)

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException

        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def expect(self, service_type: Any, name: str) -> None:
        """Create the client of ~/name before the peer offers the service, so that both directions match before `call`.

        A service that has discovered a client's request topic, but not yet its reply topic, loses the reply
        (https://github.com/ros2/rmw_fastrtps/issues/842).
        """
        self._client(service_type, name)

    def call(self, service_type: Any, name: str, request: Any, timeout_s: float = 30.0) -> Any:
        """Call ~/name of the peer and wait for the reply. Raises UserError."""
        client = self._client(service_type, name)
        self.wait_for(client.service_is_ready, timeout_s, f"offering ~/{name}")
        reply = client.call_async(request)
        self.wait_for(reply.done, timeout_s, f"answering ~/{name}")
        return reply.result()

    def wait_until_active(self, timeout_s: float) -> None:
        """Wait until the peer's lifecycle state is active. Raises UserError with its last log lines."""
        self.wait_for(self._is_active, timeout_s, "becoming active")

    def wait_for(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Poll until `condition` holds. `what` completes the error message "the node was not seen ..."."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            self._process.check()
            if time.monotonic() > deadline_s:
                raise UserError(
                    f"the node was not seen {what} within {timeout_s:.0f} s; {self._process.last_words()}",
                    status=1,
                )
            time.sleep(POLL_S)

    def _client(self, service_type: Any, name: str) -> Any:
        if name not in self._clients:
            self._clients[name] = self.node.create_client(service_type, f"/{self._peer_name}/{name}")
        return self._clients[name]

    def _is_active(self) -> bool:
        from lifecycle_msgs.msg import State
        from lifecycle_msgs.srv import GetState

        client = self._client(GetState, "get_state")
        if not client.service_is_ready():
            return False
        reply = client.call_async(GetState.Request())
        deadline_s = time.monotonic() + REPLY_PATIENCE_S
        while not reply.done() and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        if not reply.done():
            reply.cancel()
            return False
        state = reply.result().current_state
        if state.id == State.PRIMARY_STATE_UNCONFIGURED:
            # Normal for a moment before autostart; for longer only if the model could not be loaded.
            self._unconfigured_since_s = min(self._unconfigured_since_s, time.monotonic())
            if time.monotonic() - self._unconfigured_since_s > UNCONFIGURED_PATIENCE_S:
                raise UserError(f"the node stays unconfigured; {self._process.last_words()}", status=1)
        if state.id == State.PRIMARY_STATE_FINALIZED:
            raise UserError(
                f"the node is shut down (state 'finalized'); {self._process.last_words()}", status=1
            )
        return bool(state.id == State.PRIMARY_STATE_ACTIVE)
