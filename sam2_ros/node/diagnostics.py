"""Counts, times and faults of the node, and the two lines they make on /diagnostics.

Knows neither the tracker nor topics; `Statistics` needs no ROS, only `diagnostic_message` does.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2_ros.engine import FrameResult, ObjectState
from sam2_ros.media.messages.diagnostics import SEPARATOR, TRACKING

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray

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
        # What became of the prompts of users, and of those that a detector's boxes made (seeds).
        self.prompts: Counter[str] = Counter()
        self.seeds: Counter[str] = Counter()
        self._seeded: Counter[str] = Counter()  # ids of seeds whose outcome is not known yet
        self.discontinuities = 0
        self.processed_count = 0
        self.rate = Rate()  # of the images processed
        self._states: dict[str, ObjectState] = {}  # of the objects of the last image
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
            self._states = {obj.id: obj.state for obj in result.objects}
            for stage, value_ms in result.timings_ms.items():
                self._add(stage, value_ms)

    def delivered(self, latency_ms: float) -> None:
        """One image's result was published whole, `latency_ms` after the image's receipt on the steady clock."""
        with self._lock:
            self._add("latency", latency_ms)

    def seed(self, submit: Callable[[], str]) -> str:
        """Hand in a prompt that a detection made; `submit` returns its id. Before the worker can answer it."""
        with self._lock:
            object_id = submit()
            self._seeded[object_id] += 1
            self.seeds["accepted"] += 1
            return object_id

    def prompted(self, outcome: str, object_ids: Iterable[str]) -> None:
        """Prompts, one id for each, are "applied" or "rejected"; those that were "late" are said so as well."""
        with self._lock:
            for object_id in object_ids:
                counts = self.seeds if self._seeded[object_id] > 0 else self.prompts
                counts[outcome] += 1
                if outcome != "late":
                    self._seeded[object_id] -= 1
                self._seeded = +self._seeded

    def removed(self, everything: bool, object_ids: Iterable[str]) -> None:
        """Objects are gone, and prompts that waited for them have no outcome."""
        with self._lock:
            for object_id in list(self._seeded) if everything else object_ids:
                del self._seeded[object_id]

    def aged(self, age_ms: float) -> None:
        """How old an image was, by the ROS clock, when its result was published."""
        with self._lock:
            self._add("age", age_ms)

    def _add(self, stage: str, value_ms: float) -> None:
        self._times_ms.setdefault(stage, deque(maxlen=WINDOW_IMAGES)).append(value_ms)

    def percentiles_ms(self) -> dict[str, tuple[float, float, float]]:
        """Stage -> (p50, p95, p99) in milliseconds over the last images; "latency" is receipt to publish."""
        with self._lock:
            copies = {stage: list(values) for stage, values in self._times_ms.items()}
        return {
            stage: (float(p[0]), float(p[1]), float(p[2]))
            for stage, values in copies.items()
            for p in [np.percentile(values, (50, 95, 99))]
        }

    def values(
        self, received: int, dropped: int, known_ids: Collection[str] = (), pending: int = 0
    ) -> dict[str, str]:
        """What /diagnostics shows, given the mailbox's two counts.

        Args:
            known_ids: of the objects that exist now: of one removed since the last image nothing is counted.
            pending: prompts that wait for their image, or are on their way from it.
        """
        with self._lock:
            states = Counter(state for object_id, state in self._states.items() if object_id in known_ids)
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
        shown.update({f"objects_{state.name.lower()}": states[state] for state in ObjectState})
        texts = {name: str(count) for name, count in shown.items()}
        for stage, (p50, p95, p99) in self.percentiles_ms().items():
            texts[f"{stage}_ms_p50"] = f"{p50:.2f}"
            texts[f"{stage}_ms_p95"] = f"{p95:.2f}"
            texts[f"{stage}_ms_p99"] = f"{p99:.2f}"
        return texts


@dataclass(frozen=True)
class Line:
    """One DiagnosticStatus: what it is about, how bad, one sentence, numbers."""

    name: str
    level: int
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CameraView:
    """What the node knows of its camera.

    `silent_s` counts from the last image, or from when images were wanted.
    """

    topic: str
    wanted: bool
    silent_s: float
    publishers: int
    any_image: bool


def camera_line(camera: CameraView, timeout_s: float) -> Line:
    """ERROR when images are wanted and none came for `timeout_s`, with the likely cause."""
    values = {"topic": camera.topic, "publishers": str(camera.publishers)}
    if not camera.wanted:
        return Line("camera", OK, "no images wanted", values)
    if math.isfinite(camera.silent_s):
        values["silent_s"] = f"{camera.silent_s:.1f}"
    if camera.silent_s <= timeout_s:
        message = "images arrive" if camera.any_image else "waiting for the first image"
        return Line("camera", OK, message, values)
    silence = f"no image on {camera.topic} for {camera.silent_s:.1f} s"
    if camera.publishers == 0:
        cause = "nobody publishes there; check the camera and the remapping of image_raw"
    else:
        cause = (
            f"{camera.publishers} publisher(s) match the topic: either the camera is silent, its QoS does "
            "not fit image_reliability, or its images are too big for Fast DDS defaults (best-effort above "
            "half a megabyte vanishes unless the camera's process uses a profile such as config/fastdds.xml)"
        )
    return Line("camera", ERROR, f"{silence}: {cause}", values)


def tracking_line(state: str, fault: str, statistics: Statistics, values: Mapping[str, str]) -> Line:
    """ERROR with the reason when the node stopped itself; WARN when something was lost lately or results are old."""
    if fault:
        return Line(TRACKING, ERROR, fault, values)
    if state != "active":
        return Line(TRACKING, OK, f"node is {state}", values)
    if statistics.lost_lately:
        said = [
            f"{statistics.losses[kind]} {what}" for kind, what in LOSSES.items() if statistics.losses[kind]
        ]
        return Line(TRACKING, WARN, f"since the start: {', '.join(said)}", values)
    _, latency_ms, _ = statistics.percentiles_ms().get("latency", (0.0, 0.0, 0.0))
    if latency_ms > SLOW_MS:
        return Line(
            TRACKING,
            WARN,
            f"slow: one result in twenty comes more than {latency_ms:.0f} ms after its image; fewer objects, a "
            "smaller model or a GPU would help",
            values,
        )
    return Line(TRACKING, OK, "tracking", values)


def resident_mb() -> float | None:
    """Memory of this process in MB; None where /proc does not tell (outside Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def diagnostic_message(stamp: Any, node_name: str, hardware_id: str, lines: list[Line]) -> DiagnosticArray:
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
