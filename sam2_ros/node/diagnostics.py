# SPDX-License-Identifier: Apache-2.0
"""Counts, times and faults of the node, and the statuses "tracking" and "camera" on /diagnostics.

Does not know the tracker or topics. Only `diagnostic_message` needs ROS.
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

WINDOW_IMAGES = 300  # percentiles are over the last images: ten seconds of a 30 Hz camera
LOSS_WARNING_S = 30.0  # how long the status is WARN after a loss
SLOW_MS = 1000.0  # 95th percentile of receipt to result: older results are useless to a gripper
LOSSES = {
    "skipped": "images could not be read",
    "failed": "images failed",
    "not_published": "messages could not be published",
    "dropped_objects": "objects were dropped for lack of device memory",
}
OK, WARN, ERROR = 0, 1, 2


class Rate:
    """Events per second over the last five seconds."""

    WINDOW_S = 5.0

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=2000)

    def tick(self, now_s: float) -> None:
        self._times_s.append(now_s)

    def hz(self, now_s: float) -> float:
        times_s = [time_s for time_s in list(self._times_s) if now_s - time_s <= self.WINDOW_S]
        if len(times_s) < 2:
            return 0.0
        # The interval ends now, so that the rate falls when events stop.
        return (len(times_s) - 1) / max(times_s[-1] - times_s[0], now_s - times_s[-1])


class Statistics:
    """Written by several threads, read by the diagnostics timer."""

    def __init__(self) -> None:
        self.losses: Counter[str] = Counter()  # by kind, see LOSSES
        self.published = 0  # messages, all outputs together
        self.prompts_accepted = 0
        # Outcome -> count, for the prompts of users and for those made from a detector's boxes.
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
        """Add a time of one image: of a stage; "latency", receipt to last output; "age", ROS clock minus stamp then."""
        with self._lock:
            self._add(stage, value_ms)

    def prompted(self, outcome: str, prompts: Iterable[QueuedPrompt]) -> None:
        """Count prompts as "applied" or "rejected"; prompts that were late are also counted as "late"."""
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
        """The key-value pairs on /diagnostics.

        Args:
            received, dropped: the mailbox's two counts.
            states: number of objects in each state.
            pending: prompts that wait for their image, or are being brought from it to now.
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
    """One DiagnosticStatus: name, level, one sentence, key-value pairs."""

    name: str
    level: int
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CameraStatus:
    """State of the image subscription.

    Attributes:
        wanted: the node is active and enabled.
        silent_s: seconds since the last image, or since images became wanted if that is later.
        publishers: number of publishers of the topic.
        any_image: an image has come since images were wanted.
    """

    topic: str
    wanted: bool
    silent_s: float
    publishers: int
    any_image: bool


def camera_line(camera: CameraStatus, timeout_s: float) -> StatusLine:
    """ERROR, with the likely cause, if images are wanted and none came for `timeout_s`."""
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
        cause = "the topic has no publisher; check the camera and the remapping of image_raw"
    else:
        cause = (
            f"the topic has {camera.publishers} publisher(s): the camera sends nothing, its QoS does not match "
            "image_reliability, or its images are too big for the Fast DDS defaults (best-effort images above half a "
            "megabyte are lost unless the camera's process uses a profile such as config/fastdds.xml)"
        )
    return StatusLine("camera", ERROR, f"{silence}: {cause}", values)


def tracking_line(state: str, fault: str, statistics: Statistics, values: Mapping[str, str]) -> StatusLine:
    """ERROR with the reason if the node stopped itself; WARN after a recent loss, or if results come late."""
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
            f"slow: one result in twenty comes more than {latency_ms:.0f} ms after its image; use fewer objects, a "
            "smaller model or a GPU",
            values,
        )
    return StatusLine(TRACKING, OK, "tracking", values)


def resident_mb() -> float | None:
    """Resident memory of this process in MB; None without /proc (outside Linux).

    Without psutil: importing it costs a node on a busy machine images in its first seconds.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def diagnostic_message(
    stamp: Any, node_name: str, hardware_id: str, lines: list[StatusLine]
) -> DiagnosticArray:
    """The statuses as a diagnostic_msgs/DiagnosticArray.

    All nodes of all robots share one topic, so `node_name` is fully qualified; `hardware_id` is the camera's topic.
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
