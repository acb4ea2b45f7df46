"""~/detections: boxes of a detector that runs beside the tracker, on images that may be past.

Knows the topic, the prompt desk and who is tracked; which box means which object is association's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode

from sam2_ros.engine import FrameResult, Prompt, PromptError
from sam2_ros.node.convert import stamp_to_ns
from sam2_ros.node.diagnostics import OK, WARN, Line, Statistics
from sam2_ros.node.limits import listed
from sam2_ros.node.prompt_queue import PromptDesk, PromptRequest
from sam2_ros.node.qos import sensor_qos, subscribe

from .association import Associator, Seed
from .track_history import Sightings
from .vision import detections_from, import_vision_msgs

SILENCE_S = 5.0  # of a detector, worth a warning
BACKWARDS_S = 1.0  # a detection this much older than the one before belongs to a stream that began anew


class Detector:
    """The subscription of one configured node whose detection_mode is not off.

    Args:
        mode: reseed or track_all.
        min_score, history_s: parameters, which may change.
        active: whether images are being tracked; otherwise boxes mean nothing.

    Raises:
        UserError: vision_msgs is not installed; the message says how to get it.
    """

    def __init__(
        self,
        node: LifecycleNode,
        mode: str,
        min_score: Callable[[], float],
        max_objects: int,
        history_s: Callable[[], float],
        desk: PromptDesk,
        statistics: Statistics,
        active: Callable[[], bool],
    ) -> None:
        messages = import_vision_msgs()
        self._node = node
        self._log = node.get_logger()
        self._min_score = min_score
        self._desk = desk
        self._statistics = statistics
        self._resets = desk.resets
        self._active = active
        self._associator = Associator(mode, min_score(), max_objects)
        self._history_s = history_s
        self._sightings = Sightings(history_s())
        self._asked: dict[str, tuple[float, float, float, float]] = {}
        self._from = ("", 0.0)  # frame and stamp of the last message
        self._since_s = time.monotonic()
        self._received = 0
        self._rejected = 0
        self._subscription = subscribe(
            node, messages.Detection2DArray, "~/detections", self._on_detections, sensor_qos(depth=5)
        )

    def destroy(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def saw(self, result: FrameResult) -> None:
        """Called by the worker's thread, for every image tracked."""
        self._sightings.seconds = self._history_s()
        self._sightings.max_bytes = self._desk.limits.history_bytes
        self._sightings.saw(result)

    def line(self) -> Line:
        """A status for /diagnostics: WARN when the detector is silent."""
        counts = {f"detections_{name}": str(count) for name, count in self._associator.counts.items()}
        seeds = self._statistics.seeds
        values = {
            "messages": str(self._received),
            "seeds_accepted": str(seeds["accepted"]),
            "seeds_applied": str(seeds["applied"]),
            "seeds_late": str(seeds["late"]),
            "seeds_rejected": str(self._rejected + seeds["rejected"]),
            **counts,
            "track_history_mb": f"{self._sightings.bytes / 1e6:.1f}",
            "track_history_cut": str(self._sightings.cut),
        }
        silent_s = time.monotonic() - self._since_s
        if self._active() and silent_s > SILENCE_S:
            topic = self._subscription.topic_name
            return Line("detections", WARN, f"no detections on {topic} for {silent_s:.1f} s", values)
        return Line("detections", OK, f"mode {self._associator.mode}", values)

    def _on_detections(self, message: Any) -> None:
        self._since_s = time.monotonic()
        if not self._active():
            return
        self._received += 1
        detections, problems = detections_from(message, self._min_score())
        if problems:
            self._log.warning(listed(problems, "; "), throttle_duration_sec=1.0)
        stamp_ns, frame_id = stamp_to_ns(message.header.stamp), message.header.frame_id
        stamp_s = stamp_ns / 1e9 or time.monotonic()
        resets = self._desk.resets
        if frame_id != self._from[0] or stamp_s < self._from[1] - BACKWARDS_S or resets != self._resets:
            self._associator.reset()
        self._resets = resets
        self._from = (frame_id, stamp_s)
        self._associator.min_score = self._min_score()
        # What was seen before it was removed is no object any more, or its seed would bring it back.
        existing = set(self._desk.known_ids)
        known = [each for each in self._sightings.known(stamp_ns / 1e9, self._asked) if each.id in existing]
        self._asked = {each.id: self._asked[each.id] for each in known if each.id in self._asked}
        self._sow(self._associator.take(detections, known, stamp_s), stamp_ns, frame_id)

    def _sow(self, seeds: Sequence[Seed], stamp_ns: int, frame_id: str) -> None:
        """Each seed becomes a prompt on the image of the detections."""
        for seed in seeds:
            prompt = Prompt(seed.id or "detection", box=seed.box, class_id=seed.class_id)
            request = PromptRequest(prompt, named=bool(seed.id), stamp_ns=stamp_ns, frame_id=frame_id)
            try:
                object_id = self._statistics.seed(partial(self._desk.submit, request, time.monotonic()))
            except PromptError as error:
                self._rejected += 1
                self._log.warning(f"detection rejected: {error}", throttle_duration_sec=1.0)
                continue
            self._asked[object_id] = seed.box
            verb = "sought again" if seed.id else "new"
            self._log.info(f"{object_id}: {verb}, by a detection of '{seed.class_id}' ({seed.score:.2f})")
