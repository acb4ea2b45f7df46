# SPDX-License-Identifier: Apache-2.0
"""Subscribes to ~/detections, the boxes of a detector, also on past images, and turns them into prompts.

Knows the topic, the prompt queue and the existing objects; which box shows which object is decided in `association`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.lifecycle import LifecycleNode

from sam2_ros.engine import FrameResult, Prompt, PromptError
from sam2_ros.node.convert import stamp_to_ns
from sam2_ros.node.diagnostics import OK, WARN, Statistics, StatusLine
from sam2_ros.node.limits import listed
from sam2_ros.node.parameters.declared import DeclaredParameters
from sam2_ros.node.prompt_outcome import DETECTOR
from sam2_ros.node.prompt_queue import PromptQueue, PromptRequest
from sam2_ros.node.qos import sensor_qos, subscribe

from .association import Associator
from .detections import BoxPrompt
from .track_history import TrackHistory
from .vision import detections_from, import_vision_msgs

SILENCE_S = 5.0  # without a message of the detector, until the status is WARN
BACKWARDS_S = 1.0  # a message this much older than the one before means that the stream has started again


class Detector:
    """The subscription of one configured node whose detection_mode is not off.

    Messages are ignored unless `is_active()`: images are being tracked.

    Raises:
        UserError: vision_msgs is not installed; the message says how to get it.
    """

    def __init__(
        self,
        node: LifecycleNode,
        settings: DeclaredParameters,
        queue: PromptQueue,
        statistics: Statistics,
        is_active: Callable[[], bool],
    ) -> None:
        messages = import_vision_msgs()
        params = settings.used
        self._node = node
        self._log = node.get_logger()
        self._settings = settings
        self._queue = queue
        self._objects = queue.objects
        self._statistics = statistics
        self._resets = self._objects.resets
        self._is_active = is_active
        self._associator = Associator(params.detection_mode, params.min_detection_score, params.max_objects)
        self._history = TrackHistory(params.prompt_history)
        self._asked: dict[str, tuple[float, float, float, float]] = {}
        self._from = ("", 0.0)  # frame_id and stamp (s) of the last message
        self._since_s = time.monotonic()
        self._received = 0
        self._rejected = 0
        self._subscription = subscribe(
            node, messages.Detection2DArray, "~/detections", self._on_detections, sensor_qos(depth=5)
        )

    def destroy(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def add_result(self, result: FrameResult) -> None:
        """Called by the worker's thread, for every image tracked."""
        params = self._settings.used
        self._history.seconds, self._history.max_bytes = params.prompt_history, params.history_bytes
        self._history.add(result)

    def line(self) -> StatusLine:
        """The status "detections" for /diagnostics: WARN if the detector is silent."""
        counts = {f"detections_{name}": str(count) for name, count in self._associator.counts.items()}
        prompts = self._statistics.detector_prompts
        values = {
            "messages": str(self._received),
            "seeds_accepted": str(prompts["accepted"]),
            "seeds_applied": str(prompts["applied"]),
            "seeds_late": str(prompts["late"]),
            "seeds_rejected": str(self._rejected + prompts["rejected"]),
            **counts,
            "track_history_mb": f"{self._history.bytes / 1e6:.1f}",
            "track_history_cut": str(self._history.cut),
        }
        silent_s = time.monotonic() - self._since_s
        if self._is_active() and silent_s > SILENCE_S:
            topic = self._subscription.topic_name
            return StatusLine("detections", WARN, f"no detections on {topic} for {silent_s:.1f} s", values)
        return StatusLine("detections", OK, f"mode {self._associator.mode}", values)

    def _on_detections(self, message: Any) -> None:
        self._since_s = time.monotonic()
        if not self._is_active():
            return
        self._received += 1
        min_score = self._settings.used.min_detection_score
        detections, problems = detections_from(message, min_score)
        if problems:
            self._log.warning(listed(problems, "; "), throttle_duration_sec=1.0)
        stamp_ns, frame_id = stamp_to_ns(message.header.stamp), message.header.frame_id
        stamp_s = stamp_ns / 1e9 or time.monotonic()
        resets = self._objects.resets
        if frame_id != self._from[0] or stamp_s < self._from[1] - BACKWARDS_S or resets != self._resets:
            self._associator.reset()
        self._resets = resets
        self._from = (frame_id, stamp_s)
        self._associator.min_score = min_score
        # The history still holds removed objects; a box must not bring one back.
        existing = set(self._objects.ids)
        known = [each for each in self._history.known(stamp_ns / 1e9, self._asked) if each.id in existing]
        self._asked = {each.id: self._asked[each.id] for each in known if each.id in self._asked}
        self._submit(self._associator.take(detections, known, stamp_s), stamp_ns, frame_id)

    def _submit(self, prompts: Sequence[BoxPrompt], stamp_ns: int, frame_id: str) -> None:
        """Submit box prompts for the image of the detections."""
        for box_prompt in prompts:
            prompt = Prompt(box_prompt.id or "detection", box=box_prompt.box, class_id=box_prompt.class_id)
            request = PromptRequest(prompt, bool(box_prompt.id), stamp_ns, frame_id, DETECTOR)
            try:
                object_id = self._queue.submit(request, time.monotonic())
            except PromptError as error:
                self._rejected += 1
                self._objects.report(request.rejected(str(error)))
                self._log.warning(f"detection rejected: {error}", throttle_duration_sec=1.0)
                continue
            self._statistics.detector_prompts["accepted"] += 1
            self._asked[object_id] = box_prompt.box
            what = "prompted again" if box_prompt.id else "new object"
            self._log.info(
                f"{object_id}: {what}, from a detection of '{box_prompt.class_id}' ({box_prompt.score:.2f})"
            )
