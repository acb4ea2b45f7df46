# SPDX-License-Identifier: Apache-2.0
"""The action ~/track_until: waits until an object is visible, lost or still, or for a time.

Knows goals, prompts and the statuses of each published image; does not know how objects are tracked. Goals advance in
the executor's thread: with each result, and by a steady timer for their times. Nothing waits for a goal or a client.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.action import CancelResponse, GoalResponse
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidHandle
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from sam2_ros.engine import PromptError
from sam2_ros.node.convert import stamp_to_ns
from sam2_ros.node.interfaces import ObjectStatus, TrackUntil
from sam2_ros.node.limits import listed, shown
from sam2_ros.node.object_registry import ObjectEntry, ObjectRegistry
from sam2_ros.node.parameters.declared import DeclaredParameters
from sam2_ros.node.prompt_outcome import ACTION, Outcome
from sam2_ros.node.prompt_queue import QueuedPrompt

from .conditions import Condition, Until
from .deferred_server import DeferredActionServer, never_executed

TIMER_PERIOD_S = 0.05
FEEDBACK_PERIOD_S = 0.1  # while the state does not change
RESULT_TIMEOUT_S = 10  # how long rclpy keeps the result of a goal that has ended
CLIENT_PATIENCE_S = 10.0  # goals end when no client has listened for this long
CLIENT_CHECK_S = 1.0
WAITING_RESULTS = 256  # images whose statuses wait for the executor; more only while it is blocked

RCLError = rclpy_implementation.RCLError


@dataclass(eq=False)
class _Goal:
    """One goal that has not ended. `prompt`: its own prompt, None if it follows an existing object."""

    handle: Any
    condition: Condition
    entry: ObjectEntry
    prompt: QueuedPrompt | None
    deadline_s: float
    last: Any = None  # the newest ObjectStatus
    told_s: float = -math.inf
    told_state: int = -1


class TrackUntilServer:
    """The action server of one node, for its whole life.

    Args:
        submit: submits a Prompt message from a source; raises PromptError.
        lifecycle_state: returns the state of the node, such as "active".
    """

    def __init__(
        self,
        node: Node,
        submit: Callable[[Any, str], QueuedPrompt],
        objects: ObjectRegistry,
        settings: DeclaredParameters,
        lifecycle_state: Callable[[], str],
    ) -> None:
        self._node = node
        self._log = node.get_logger()
        self._submit = submit
        self._objects = objects
        self._settings = settings
        self._lifecycle_state = lifecycle_state
        self._goals: list[_Goal] = []
        self._results: deque[tuple[Any, float]] = deque(maxlen=WAITING_RESULTS)
        self._client_seen_s = self._client_checked_s = time.monotonic()
        self.server = DeferredActionServer(
            node,
            TrackUntil,
            "~/track_until",
            never_executed,
            goal_callback=lambda goal: (
                GoalResponse.ACCEPT
            ),  # a refused goal gets a result, which has the reason
            handle_accepted_callback=self._on_goal,
            cancel_callback=self._on_cancel,
            result_timeout=RESULT_TIMEOUT_S,
        )
        self._feedback_topic = f"{node.get_fully_qualified_name()}/track_until/_action/feedback"
        self._wake = node.create_guard_condition(self._advance)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(TIMER_PERIOD_S, self._advance, clock=steady)
        self._timer.cancel()  # runs while there are goals

    @property
    def wanted(self) -> bool:
        """True while there are goals. Callable from any thread."""
        return bool(self._goals)

    def offer(self, statuses: Any, received_s: float) -> None:
        """Take the ObjectStatusArray of an image. Callable from any thread; returns at once.

        `received_s`: when the image was received, steady clock.
        """
        self._results.append((statuses, received_s))
        self._advance_soon()

    def abort_all(self, reason: str) -> None:
        """End every goal. Called by the executor's thread."""
        if self._goals:
            self._log.warning(f"{len(self._goals)} goals of ~/track_until aborted: {reason}")
        for goal in list(self._goals):
            self._end(goal, "abort", reason)
        self._results.clear()

    def destroy(self) -> None:
        """The node ends."""
        self._goals.clear()
        with contextlib.suppress(RCLError, InvalidHandle):
            self.server.destroy()

    def _advance_soon(self) -> None:
        with contextlib.suppress(InvalidHandle):  # the node has ended
            self._wake.trigger()

    def _on_goal(self, handle: Any) -> None:
        handle.execute()
        try:
            goal = self._begin(handle)
        except PromptError as error:
            self._log.warning(f"~/track_until: {error}")
            self._conclude(handle, "abort", str(error), ObjectStatus(id=shown(handle.request.id)))
            return
        self._goals.append(goal)
        self._client_seen_s = time.monotonic()
        self._timer.reset()

    def _begin(self, handle: Any) -> _Goal:
        """Check a goal and submit its prompt. Raises PromptError."""
        request, params = handle.request, self._settings.used
        if (state := self._lifecycle_state()) != "active":
            raise PromptError(f"the node is {state}, expected active: activate it, then send the goal again")
        if len(self._goals) >= params.max_goals:
            raise PromptError(
                f"{len(self._goals)} goals run, as many as max_goals = {params.max_goals} allows; cancel one or raise "
                "max_goals"
            )
        condition = Condition.of_goal(request, params.use_3d)
        entry, queued = self._object_of(request)
        deadline_s = time.monotonic() + (condition.timeout_s or math.inf)
        return _Goal(handle, condition, entry, queued, deadline_s)

    def _object_of(self, request: Any) -> tuple[ObjectEntry, QueuedPrompt | None]:
        """The object of a goal, and the goal's own prompt."""
        prompt = request.prompt
        object_id = request.id or prompt.id
        if prompt.id and prompt.id != object_id:
            raise PromptError(
                f"id '{shown(request.id)}' and prompt.id '{shown(prompt.id)}': expected the same, or one of them"
            )
        if len(prompt.points) or len(prompt.box) or prompt.mask.width or prompt.mask.height:
            prompt.id = object_id
            queued = self._submit(prompt, ACTION)
            return queued.object, queued
        if not object_id:
            raise PromptError("the goal has neither a prompt nor an id: expected one of them")
        if (entry := self._objects.entry(object_id)) is None:
            known = listed([shown(each) for each in self._objects.ids]) or "none"
            raise PromptError(
                f"no object '{shown(object_id)}': expected one of the objects ({known}), or a prompt"
            )
        return entry, None

    def _on_cancel(self, handle: Any) -> CancelResponse:
        self._advance_soon()  # after rclpy has changed the goal's state
        return CancelResponse.ACCEPT

    # In the executor's thread, with each result and by the timer.

    def _advance(self) -> None:
        now_s = time.monotonic()
        self._check_client(now_s)
        for goal in list(self._goals):
            if goal.handle.is_cancel_requested:
                self._end(goal, "canceled", f"cancelled; '{goal.entry.id}' remains")
        while self._results:
            statuses, received_s = self._results.popleft()
            by_label = {status.label: status for status in statuses.objects}
            stamp_s = stamp_to_ns(statuses.header.stamp) / 1e9 or received_s
            for goal in list(self._goals):
                status = by_label.get(goal.entry.label) if goal.entry.label else None
                if status is not None:
                    self._see(goal, status, stamp_s, received_s)
        for goal in list(self._goals):
            self._check(goal, now_s)
        if not self._goals:
            self._results.clear()
            self._timer.cancel()

    def _see(self, goal: _Goal, status: Any, stamp_s: float, received_s: float) -> None:
        """One goal's object in one image."""
        goal.last = status
        counts = goal.prompt is None or goal.prompt.is_shown(received_s)
        within_m = self._settings.used.stable_within
        if counts and (message := goal.condition.met(status, stamp_s, within_m)):
            self._end(goal, "succeed", message)
            return
        now_s = time.monotonic()
        if status.state == goal.told_state and now_s - goal.told_s < FEEDBACK_PERIOD_S:
            return
        goal.told_s, goal.told_state = now_s, status.state
        try:
            goal.handle.publish_feedback(TrackUntil.Feedback(status=status))
        except (RCLError, InvalidHandle) as error:
            if self._node.context.ok():
                self._log.warning(f"~/track_until: feedback dropped: {error}", throttle_duration_sec=1.0)

    def _check(self, goal: _Goal, now_s: float) -> None:
        """End a goal whose prompt or object has ended, or whose time is over."""
        if goal.prompt is not None and goal.prompt.outcome == Outcome.REJECTED:
            self._end(goal, "abort", goal.prompt.reason)
        elif not goal.entry.exists:
            self._end(goal, "abort", f"'{goal.entry.id}' ended: {goal.entry.end_reason}")
        elif now_s >= goal.deadline_s:
            message = goal.condition.timed_out(goal.entry.id, goal.last)
            self._end(goal, "succeed" if goal.condition.until == Until.DURATION else "abort", message)

    def _check_client(self, now_s: float) -> None:
        """A client that died cannot cancel: without any client left, goals without a time limit would never end."""
        if now_s - self._client_checked_s < CLIENT_CHECK_S:
            return
        self._client_checked_s = now_s
        if self._node.count_subscribers(self._feedback_topic):
            self._client_seen_s = now_s
        elif self._goals and now_s - self._client_seen_s > CLIENT_PATIENCE_S:
            self.abort_all(f"no action client has listened for {CLIENT_PATIENCE_S:g} s")

    def _end(self, goal: _Goal, how: str, message: str) -> None:
        self._goals.remove(goal)
        self._conclude(goal.handle, how, message, goal.last or ObjectStatus(id=goal.entry.id))

    def _conclude(self, handle: Any, how: str, message: str, status: Any) -> None:
        """`how`: the method of the goal handle that sets its final state."""
        result = TrackUntil.Result(success=how == "succeed", message=message, status=status)
        self.server.end(handle, partial(_concluded, how=how, result=result))


def _concluded(handle: Any, how: str, result: Any) -> Any:
    getattr(handle, how)()
    return result
