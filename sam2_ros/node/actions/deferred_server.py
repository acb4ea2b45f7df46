# SPDX-License-Identifier: Apache-2.0
"""An rclpy ActionServer whose goals end when they are told to, without a coroutine or a thread for each of them.

Does not know any action. While a coroutine waits, the executors of Humble and Jazzy spin at full load, and a callback
that blocks would block the node's only executor thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer


class DeferredActionServer(ActionServer):  # type: ignore[misc, type-arg]
    """`goal_handle.execute()` only changes the state to EXECUTING; `end` ends the goal later."""

    def notify_execute(self, goal_handle: Any, execute_callback: Callable[[Any], Any] | None) -> None:
        """Called by rclpy from `goal_handle.execute()`: nothing runs yet."""

    def end(self, goal_handle: Any, execute_callback: Callable[[Any], Any]) -> None:
        """Run a callback soon in the executor: it sets the final state of the goal and returns the result."""
        super().notify_execute(goal_handle, execute_callback)


def never_executed(goal_handle: Any) -> Any:
    """The execute_callback that rclpy asks for."""
    raise AssertionError("goals end by DeferredActionServer.end")
