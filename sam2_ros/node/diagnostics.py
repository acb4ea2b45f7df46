# SPDX-License-Identifier: Apache-2.0
"""Counts, times and faults of the node, and the two lines they make on /diagnostics.

Knows neither the tracker nor topics; `Statistics` needs no ROS, only `diagnostic_message` does.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_ros.engine import FrameResult, ObjectState
from sam2_ros.media.messages.diagnostics import SEPARATOR, TRACKING

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray

    from .prompt_queue import QueuedPrompt

WINDOW_IMAGES = 300  # percentiles are over the last images, ten seconds of a 30 Hz camera
LOSS_WARNING_S = 30.0  # how long a loss is worth a warning
SLOW_MS = 1000.0  # from an image's receipt to its result: older results are no good to a gripper
LOSSES = {
    "skipped": "images could not be read",
    "failed": "images failed",
    "not_published": "messages could not be published",
    "dropped_objects": "objects were dropped for want of device memory",
}
OK, WARN, ERROR = 0, 1, 2


class Rate:
    """How often something happened per second, over the last five seconds."""

    WINDOW_S = 5.0

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=2000)

    def tick(self, now_s: float) -> None:
        self._times_s.append(now_s)

    def hz(self, now_s: float) -> float:
        times_s = [time_s for time_s in list(self._times_s) if now_s - time_s <= self.WINDOW_S]
        if len(times_s) < 2:
            return 0.0
        # Until now, so that the rate falls when nothing comes any more.
        return (len(times_s) - 1) / max(times_s[-1] - times_s[0], now_s - times_s[-1])


class Statistics:
    """Written by several threads, read by the diagnostics timer."""

    def __init__(self) -> None:
        self.losses: Counter[str] = Counter()  # by kind, see LOSSES
        self.published = 0  # messages, all outputs together
        self.prompts_accepted = 0
        # What became of the prompts of users, and of those that a detector's boxes made.
        self.prompts: Counter[str] = Counter()
        self.detector_prompts: Counter[str] = Counter()
        self.discontinuities = 0
        self.processed_count = 0
        self.rate = Rate()  # of the images processed
        self._last_loss_s = -math.inf
        self._lock = threading.Lock()
        self._times_ms: dict[str, deque[float]] = {}

    def lost(self, kind: str) -> None:
        """An image or a message was lost; `kind` is one of LOSSES."""
        with self._lock:
            self.losses[kind] += 1
        self._last_loss_s = time.monotonic()

    def sent(self) -> None:
        """One message was published."""
        with self._lock:
            self.published += 1

    @property
    def lost_lately(self) -> bool:
        return time.monotonic() - self._last_loss_s < LOSS_WARNING_S

    def processed(self, result: FrameResult) -> None:
        """One image was tracked."""
        with self._lock:
            self.processed_count += 1
            self.rate.tick(time.monotonic())
            for stage, value_ms in result.timings_ms.items():
                self._add(stage, value_ms)

    def timed(self, stage: str, value_ms: float) -> None:
        """Of one image: a stage; "latency", from its receipt to its whole result; "age" by the ROS clock then."""
        with self._lock:
            self._add(stage, value_ms)

    def prompted(self, outcome: str, prompts: Iterable[QueuedPrompt]) -> None:
        """Prompts are "applied" or "rejected"; those that were "late" are said so as well."""
        with self._lock:
            for queued in prompts:
                counts = self.detector_prompts if queued.by_detector else self.prompts
                counts[outcome] += 1

    def _add(self, stage: str, value_ms: float) -> None:
        self._times_ms.setdefault(stage, deque(maxlen=WINDOW_IMAGES)).append(value_ms)

    def percentiles_ms(self) -> dict[str, list[float]]:
        """Stage -> [p50, p95, p99] in milliseconds over the last images."""
        with self._lock:
            copies = {stage: list(values) for stage, values in self._times_ms.items()}
        return {stage: np.percentile(values, (50, 95, 99)).tolist() for stage, values in copies.items()}

    def values(
        self, received: int, dropped: int, states: Mapping[ObjectState, int], pending: int = 0
    ) -> dict[str, str]:
        """What /diagnostics shows, given the mailbox's two counts.

        Args:
            states: how many objects are in which.
            pending: prompts that wait for their image, or are on their way from it.
        """
        shown = {
            "frames_in": received,
            "frames_processed": self.processed_count,
            "frames_dropped": dropped,
            "frames_skipped": self.losses["skipped"],
            "frames_failed": self.losses["failed"],
            "messages_published": self.published,
            "messages_not_published": self.losses["not_published"],
            "objects_dropped": self.losses["dropped_objects"],
            "prompts_accepted": self.prompts_accepted,
            "prompts_applied": self.prompts["applied"],
            "prompts_late": self.prompts["late"],
            "prompts_rejected": self.prompts["rejected"],
            "prompts_pending": pending,
            "discontinuities": self.discontinuities,
        }
        shown.update({f"objects_{state.name.lower()}": states.get(state, 0) for state in ObjectState})
        texts = {name: str(count) for name, count in shown.items()}
        for stage, (p50, p95, p99) in self.percentiles_ms().items():
            texts[f"{stage}_ms_p50"] = f"{p50:.2f}"
            texts[f"{stage}_ms_p95"] = f"{p95:.2f}"
            texts[f"{stage}_ms_p99"] = f"{p99:.2f}"
        return texts


@dataclass(frozen=True)
class StatusLine:
    """One DiagnosticStatus: what it is about, how bad, one sentence, numbers."""

    name: str
    level: int
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CameraStatus:
    """What the node knows of its camera.

    `silent_s` counts from the last image, or from when images were wanted.
    """

    topic: str
    wanted: bool
    silent_s: float
    publishers: int
    any_image: bool


def camera_line(camera: CameraStatus, timeout_s: float) -> StatusLine:
    """ERROR when images are wanted and none came for `timeout_s`, with the likely cause."""
    values = {"topic": camera.topic, "publishers": str(camera.publishers)}
    if not camera.wanted:
        return StatusLine("camera", OK, "no images wanted", values)
    if math.isfinite(camera.silent_s):
        values["silent_s"] = f"{camera.silent_s:.1f}"
    if camera.silent_s <= timeout_s:
        message = "images arrive" if camera.any_image else "waiting for the first image"
        return StatusLine("camera", OK, message, values)
    silence = f"no image on {camera.topic} for {camera.silent_s:.1f} s"
    if camera.publishers == 0:
        cause = "nobody publishes there; check the camera and the remapping of image_raw"
    else:
        cause = (
            f"{camera.publishers} publisher(s) match the topic: either the camera is silent, its QoS does "
            "not fit image_reliability, or its images are too big for Fast DDS defaults (best-effort above "
            "half a megabyte vanishes unless the camera's process uses a profile such as config/fastdds.xml)"
        )
    return StatusLine("camera", ERROR, f"{silence}: {cause}", values)


def tracking_line(state: str, fault: str, statistics: Statistics, values: Mapping[str, str]) -> StatusLine:
    """ERROR with the reason when the node stopped itself; WARN when something was lost lately or results are old."""
    if fault:
        return StatusLine(TRACKING, ERROR, fault, values)
    if state != "active":
        return StatusLine(TRACKING, OK, f"node is {state}", values)
    if statistics.lost_lately:
        said = [
            f"{statistics.losses[kind]} {what}" for kind, what in LOSSES.items() if statistics.losses[kind]
        ]
        return StatusLine(TRACKING, WARN, f"since the start: {', '.join(said)}", values)
    _, latency_ms, _ = statistics.percentiles_ms().get("latency", [0.0] * 3)
    if latency_ms > SLOW_MS:
        return StatusLine(
            TRACKING,
            WARN,
            f"slow: one result in twenty comes more than {latency_ms:.0f} ms after its image; fewer objects, a "
            "smaller model or a GPU would help",
            values,
        )
    return StatusLine(TRACKING, OK, "tracking", values)


def resident_mb() -> float | None:
    """Memory of this process in MB; None where /proc does not tell (outside Linux).

    Not by psutil: with its import, a node on a busy machine loses images in its first seconds.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def diagnostic_message(
    stamp: Any, node_name: str, hardware_id: str, lines: list[StatusLine]
) -> DiagnosticArray:
    """The lines as a diagnostic_msgs/DiagnosticArray.

    All nodes of all robots share one topic: `node_name` is fully qualified, `hardware_id` the camera's topic.
    """
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

    array = DiagnosticArray()
    array.header.stamp = stamp
    array.status = [
        DiagnosticStatus(
            level=bytes([line.level]),
            name=f"{node_name}{SEPARATOR}{line.name}",
            message=line.message,
            hardware_id=hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in line.values.items()],
        )
        for line in lines
    ]
    return array
