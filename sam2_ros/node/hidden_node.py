# SPDX-License-Identifier: Apache-2.0
"""A node beside the main one, with an executor and a thread of its own: what it serves delays no images and no replies.

Does not know what it serves.
"""

from __future__ import annotations

import contextlib
import threading

import rclpy
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.lifecycle import LifecycleNode


class HiddenNode:
    """Spins from `start` to `stop`.

    Args:
        main: gives context and namespace.
        name: what it is for; the node's name is that of the main one with it.
        executor: of the same context; it serves this node alone.

    Attributes:
        node: makes services and guard conditions, before `start`.
        stopping: set by `stop`; long work should look at it.
    """

    def __init__(self, main: LifecycleNode, name: str, executor: Executor) -> None:
        # Command line names (__node:=) belong to the main node; a leading underscore hides this one.
        self.node = rclpy.create_node(
            f"_{main.get_name()}_{name}",
            namespace=main.get_namespace(),
            context=main.context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self.stopping = threading.Event()
        self._executor = executor
        self._thread = threading.Thread(target=self._spin, name=f"sam2-{name}", daemon=True)

    def start(self) -> None:
        """Serve from now on."""
        self._executor.add_node(self.node)
        self._thread.start()

    def stop(self) -> None:
        """Take no more work; what is in hand goes on."""
        self.stopping.set()
        self._executor.shutdown(timeout_sec=0.0)

    def join(self, patience_s: float) -> bool:
        """Wait for the thread, `patience_s` seconds at most. False if it has not ended."""
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def destroy(self, patience_s: float) -> bool:
        """Stop, wait for the thread, and take the node off the graph. False if the thread has not ended."""
        self.stop()
        ended = self.join(patience_s)
        self.node.destroy_node()
        return ended

    def _spin(self) -> None:
        try:
            with contextlib.suppress(ExternalShutdownException):
                self._executor.spin()
        except Exception:
            if not self.stopping.is_set() and self.node.context.ok():
                raise  # otherwise ROS shut down before a reply was sent
