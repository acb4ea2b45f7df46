"""The one thread that infers: takes the newest image, does what was asked for, steps the tracker, hands on.

Knows no ROS: what an image message is, how results are published and how the node deactivates are functions
it is given.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sam2_ros.engine import FrameResult, Prompt, PromptError, Tracker
from sam2_ros.media.ros_image import ImageError
from sam2_ros.node.diagnostics import Statistics
from sam2_ros.node.mailbox import Mailbox
from sam2_ros.node.prompts import PromptDesk

FAILURES_TO_GIVE_UP = 3
WARNING_PERIOD_S = 1.0
STOP_PATIENCE_S = 30.0  # a step of the largest model on a slow CPU ends well within this


@dataclass(frozen=True)
class Arrival:
    """An image as it came in; it is converted only if its turn comes. `received_s` is of the steady clock."""

    message: Any
    stamp_ns: int
    frame_id: str
    received_s: float


class Log(Protocol):
    """What the worker says; a ROS logger fits."""

    def warning(self, message: str, /) -> Any: ...

    def error(self, message: str, /) -> Any: ...


class Worker:
    """Runs from `start` to `stop`; the tracker is touched by this thread only.

    Args:
        to_rgb: message -> [H, W, 3] uint8 RGB, ImageError when it cannot be read.
        deliver: publishes the result of one image.
        give_up: called from this thread, once, with the reason, after three images in a row failed.
        last: the image that was tracked before, by an earlier worker of the same tracker.
    """

    def __init__(
        self,
        tracker: Tracker,
        desk: PromptDesk,
        mailbox: Mailbox[Arrival],
        statistics: Statistics,
        to_rgb: Callable[[Any], np.ndarray],
        deliver: Callable[[FrameResult, np.ndarray, Arrival], None],
        give_up: Callable[[str], None],
        log: Log,
        last: Arrival | None = None,
    ) -> None:
        self._tracker = tracker
        self._desk = desk
        self._mailbox = mailbox
        self._statistics = statistics
        self._to_rgb = to_rgb
        self._deliver = deliver
        self._give_up = give_up
        self._log = log
        self.last = last
        self._thread = threading.Thread(target=self._run, name="sam2-worker", daemon=True)
        self._stopping = threading.Event()
        self._failures = 0
        self._warned_s: dict[str, float] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> bool:
        """End after the image in hand, whose result is not published any more.

        False when the thread hangs.
        """
        self._stopping.set()
        self._mailbox.close()
        if self._thread.is_alive():
            self._thread.join(STOP_PATIENCE_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set() and (arrival := self._mailbox.take()) is not None:
            try:
                self._process(arrival)
                self._failures = 0
            except ImageError as error:
                self._statistics.lost("skipped")
                self._warn_seldom(
                    "skipped", f"image skipped ({self._statistics.losses['skipped']} so far): {error}"
                )
            except Exception as error:
                # Whatever a model, a driver or a full memory may raise costs one image only.
                if self._stopping.is_set():
                    return
                self._failed(error)
                if self._failures >= FAILURES_TO_GIVE_UP:
                    self._give_up(
                        f"{self._failures} images in a row failed, the last one with "
                        f"{type(error).__name__}: {error}"
                    )
                    return

    def _process(self, arrival: Arrival) -> None:
        """One image: convert, notice a break in the stream, remove, prompt, step, hand on."""
        image = self._to_rgb(arrival.message)
        if reason := _break_between(self.last, arrival):
            self._tracker.discontinuity()
            self._statistics.discontinuities += 1
            self._warn_seldom(
                f"break to {arrival.frame_id}",
                f"{reason}: recent memories dropped, objects are sought anew from their prompts",
            )
        self.last = arrival

        work = self._desk.take(arrival.stamp_ns, time.monotonic())
        for remark in work.remarks:
            self._log.warning(remark)
        self._forget(work.removals.everything, work.removals.ids)
        prompts = self._usable(work.prompts, image)
        result = self._tracker.step(image, prompts, stamp_s=_seconds(arrival))

        # What was removed while the image was in work must not appear after its removal was confirmed.
        removals = self._desk.settle(result)
        self._forget(removals.everything, removals.ids)
        result.objects = [obj for obj in result.objects if not removals.covers(obj.id)]
        for reason in result.rejected.values():
            self._log.warning(reason)
        if result.forgotten:
            self._log.warning(f"forgotten after being lost too long: {', '.join(result.forgotten)}")
        if self._stopping.is_set():
            return
        self._deliver(result, image, arrival)
        self._statistics.processed(result, latency_ms=(time.monotonic() - arrival.received_s) * 1e3)

    def _forget(self, everything: bool, ids: list[str]) -> None:
        if everything:
            self._tracker.reset()
        for object_id in ids:
            self._tracker.remove(object_id)

    def _usable(self, prompts: list[Prompt], image: np.ndarray) -> list[Prompt]:
        """The prompts that fit this image; the others are said to be rejected and cost nothing else."""
        usable = []
        for prompt in prompts:
            try:
                usable.append(prompt.validated(*image.shape[:2]))
            except PromptError as error:
                self._statistics.prompts_rejected += 1
                self._log.warning(f"rejected: {error}")
        return usable

    def _warn_seldom(self, kind: str, message: str) -> None:
        """A warning that every image of a broken stream would cause is said once per second."""
        now_s = time.monotonic()
        if now_s - self._warned_s.get(kind, -math.inf) >= WARNING_PERIOD_S:
            self._warned_s[kind] = now_s
            self._log.warning(message)

    def _failed(self, error: Exception) -> None:
        lost, unborn = self._desk.abandon()
        for object_id in unborn:
            # Without the memory of its first image, an object would make every later one fail.
            self._tracker.remove(object_id)
        self._failures += 1
        self._statistics.lost("failed")
        also = f"; prompts for {', '.join(lost)} are lost with it, send them again" if lost else ""
        self._log.error(f"image failed ({self._failures} in a row): {type(error).__name__}: {error}{also}")


def _break_between(before: Arrival | None, now: Arrival) -> str | None:
    """Why `now` does not continue the stream of `before`, or None when it does."""
    if before is None:
        return None
    if now.frame_id != before.frame_id:
        return f"frame_id changed from '{before.frame_id}' to '{now.frame_id}'"
    if now.stamp_ns < before.stamp_ns:
        return f"time jumped back by {(before.stamp_ns - now.stamp_ns) / 1e9:.2f} s"
    return None


def _seconds(arrival: Arrival) -> float:
    """The image's time; a camera that does not stamp its images gets the time of receipt."""
    return arrival.stamp_ns / 1e9 if arrival.stamp_ns else arrival.received_s
