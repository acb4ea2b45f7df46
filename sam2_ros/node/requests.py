# SPDX-License-Identifier: Apache-2.0
"""User requests: prompts on a topic; services that add, remove and reset objects.

Knows messages and the prompt queue; does not know when or how a prompt is processed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

from sam2_ros.engine import PromptError

from .convert import prompt_request, stamp_to_ns
from .diagnostics import Statistics
from .interfaces import AddObjects, PromptArray, PublishMask, RemoveObjects
from .limits import listed, shown
from .outputs.topic_names import topic_names
from .parameters.declared import DeclaredParameters
from .prompt_outcome import SERVICE, TOPIC, Outcome, PromptOutcome, Report
from .prompt_queue import PromptQueue, PromptRequest, QueuedPrompt
from .qos import subscribe


class Requests:
    """The subscriptions and services of one node, for its whole life.

    `queue` returns the prompt queue, or raises PromptError with the reason if there is none. `report` is called with
    each prompt that is not accepted.
    """

    def __init__(
        self,
        node: LifecycleNode,
        statistics: Statistics,
        queue: Callable[[], PromptQueue],
        settings: DeclaredParameters,
        report: Report,
    ) -> None:
        self._node = node
        self._report = report
        self._log = node.get_logger()
        self._statistics = statistics
        self._queue = queue
        self._settings = settings
        subscribe(node, PromptArray, "~/prompts", self._on_prompts, QoSProfile(depth=10))
        node.create_service(AddObjects, "~/add_objects", self._on_add_objects)
        node.create_service(RemoveObjects, "~/remove_objects", self._on_remove_objects)
        node.create_service(PublishMask, "~/publish_mask", self._on_publish_mask)
        node.create_service(Trigger, "~/reset", self._on_reset)

    def submit(self, make: Callable[[], PromptRequest], source: str, message: Any = None) -> QueuedPrompt:
        """Submit a prompt to the queue, made by a function that may raise PromptError.

        Args:
            message: the Prompt message that it is made from, if there is one.

        Raises:
            PromptError: it is rejected; that is logged, counted and reported.
        """
        request = None
        try:
            request = replace(make(), source=source)
            queued = self._queue().enqueue(request, time.monotonic())
        except PromptError as error:
            self.reject(
                _unreadable(message, source, error) if request is None else request.rejected(str(error))
            )
            raise
        self._statistics.prompts_accepted += 1
        return queued

    def reject(self, outcome: PromptOutcome) -> None:
        """Count, log and report a prompt that is not accepted."""
        self._statistics.prompts["rejected"] += 1
        self._log.warning(f"rejected: {outcome.reason}")
        self._report(outcome)

    def submit_message(self, message: Any, source: str) -> QueuedPrompt:
        """As `submit`, of a Prompt message."""
        return self.submit(
            lambda: prompt_request(message, "#1", limits=self._queue().limits), source, message
        )

    def _submit_messages(
        self, messages: Sequence[Any], source: str, default_header: Any = None
    ) -> tuple[list[str], list[str]]:
        """One id per prompt ("" = rejected), and the reasons of the rejected ones.

        A message with too many prompts is rejected as a whole, with one reason and one report.
        """
        try:
            limits = self._queue().limits
            limits.check_count(len(messages))
        except PromptError as error:
            self._statistics.prompts["rejected"] += len(messages)
            self._log.warning(f"rejected: {error}")
            if len(messages):
                self._report(_unreadable(None, source, error))
            return [""] * len(messages), [str(error)] if len(messages) else []
        ids, reasons = [], []
        for number, message in enumerate(messages, start=1):
            make = partial(prompt_request, message, f"#{number}", default_header, limits)
            try:
                ids.append(self.submit(make, source, message).id)
            except PromptError as error:
                ids.append("")
                reasons.append(str(error))
        return ids, reasons

    def _on_prompts(self, message: Any) -> None:
        self._submit_messages(message.prompts, TOPIC, message.header)

    def _on_add_objects(self, request: Any, response: Any) -> Any:
        response.ids, reasons = self._submit_messages(request.prompts, SERVICE)
        response.success = not reasons
        response.message = listed(reasons, "; ")
        return response

    def _on_remove_objects(self, request: Any, response: Any) -> Any:
        try:
            unknown, response.ids = self._queue().remove(request.ids)
        except PromptError as error:
            response.success, response.message = False, str(error)
            return response
        response.success = not unknown
        response.message = f"unknown ids: {listed([shown(each) for each in unknown])}" if unknown else ""
        return response

    def _on_reset(self, request: Any, response: Any) -> Any:
        try:
            count = self._queue().reset()
        except PromptError:
            count = 0  # not configured: there are no objects
        response.success, response.message = True, f"{count} objects forgotten"
        return response

    def _on_publish_mask(self, request: Any, response: Any) -> Any:
        """Sets the parameter mask_topics, so that there is one list of mask topics."""
        object_id = request.id
        ids = [each for each in self._settings.wanted.mask_topics if each and each != object_id]
        try:
            self._settings.used.limits.check_size(object_id, "", 0)
            if not object_id:
                raise PromptError("the request has no id: name the object whose mask is wanted")
        except PromptError as error:
            response.message = str(error)
            return response
        wanted = [*ids, object_id] if request.on else ids
        result = self._node.set_parameters([Parameter("mask_topics", value=wanted or [""])])[0]
        response.success, response.message = result.successful, result.reason
        if response.success and request.on:
            response.topic = self._node.resolve_topic_name(topic_names([object_id])[object_id])
            response.message = self._what_to_know(object_id)
        return response

    def _what_to_know(self, object_id: str) -> str:
        """Why the mask topic of this object is silent now; empty if it is not."""
        try:
            known = object_id in self._queue().objects.ids
        except PromptError as error:
            return f"{error}; the topic comes then"
        return "" if known else f"no object '{shown(object_id)}' yet: prompt it under this id"


def _unreadable(message: Any, source: str, error: PromptError) -> PromptOutcome:
    """The outcome of a prompt that could not be read, or of a message with too many: what is known of it."""
    if message is None:
        return PromptOutcome(Outcome.REJECTED, "", source, reason=str(error))
    stamp_ns = stamp_to_ns(message.header.stamp)
    return PromptOutcome(
        Outcome.REJECTED,
        shown(message.id),
        source,
        shown(message.class_id),
        stamp_ns=stamp_ns,
        frame_id=shown(message.header.frame_id),
        reason=str(error),
    )
