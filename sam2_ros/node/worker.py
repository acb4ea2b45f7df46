"""The one thread that infers: takes the newest image, does what was asked for, steps the tracker, hands on.

Knows no ROS: what an image message is, how results are published and how the node deactivates are functions
it is given.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from sam2_ros.engine import FrameResult, Prompt, PromptError, Tracker
from sam2_ros.engine.prompt import merge_prompts
from sam2_ros.media.pixels.image_error import ImageError

from .diagnostics import Statistics
from .frame_history import Arrival, FrameHistory
from .late_prompts import Carrier
from .limits import listed, shown
from .loading import free_device_memory, out_of_memory
from .mailbox import Mailbox
from .prompt_queue import PromptDesk, Removals

FAILURES_TO_GIVE_UP = 3
WARNING_PERIOD_S = 1.0


class Log(Protocol):
    """What the worker says; a ROS logger fits."""

    def info(self, message: str, /) -> Any: ...

    def warning(self, message: str, /) -> Any: ...

    def error(self, message: str, /) -> Any: ...


class Worker:
    """Runs from `start` to `stop`; the tracker is touched by this thread only.

    Args:
        to_rgb: message -> [H, W, 3] uint8 RGB, ImageError when it cannot be read.
        deliver: publishes the result of one image.
        on_break: called when the stream has jumped, before the image that does not continue it is tracked.
        give_up: called from this thread, once, with the reason, after three images in a row failed.
        last: the image that was tracked before, by an earlier worker of the same tracker.
    """

    def __init__(
        self,
        tracker: Tracker,
        carrier: Carrier,
        history: FrameHistory,
        desk: PromptDesk,
        mailbox: Mailbox[Arrival],
        statistics: Statistics,
        to_rgb: Callable[[Any], np.ndarray],
        deliver: Callable[[FrameResult, np.ndarray, Arrival], None],
        on_break: Callable[[], None],
        give_up: Callable[[str], None],
        log: Log,
        last: Arrival | None = None,
    ) -> None:
        self._tracker = tracker
        self._carrier = carrier
        self._history = history
        self._desk = desk
        self._mailbox = mailbox
        self._statistics = statistics
        self._to_rgb = to_rgb
        self._deliver = deliver
        self._on_break = on_break
        self._give_up = give_up
        self._log = log
        self.last = last
        self._thread = threading.Thread(target=self._run, name="sam2-worker", daemon=True)
        self._stopping = threading.Event()
        self._failures = 0
        self._warned_s: dict[str, float] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience_s: float = 30.0) -> bool:
        """End after the image in hand, whose result is not published any more.

        False when that takes longer than `patience_s`; the thread then ends when it is done.
        """
        self._stopping.set()
        self._mailbox.close()
        if self._thread.is_alive():
            self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Images first; a late prompt is carried on while none waits, or within its share of the time."""
        while not self._stopping.is_set():
            arrival = self._mailbox.take(timeout_s=0.0 if self._carrier.busy else None)
            if arrival is not None and not self._handled(arrival):
                return
            idle = not self._mailbox.waiting
            if not self._stopping.is_set() and self._carrier.due(idle, time.monotonic()):
                self._carry_on()

    def _handled(self, arrival: Arrival) -> bool:
        """Process one image, whatever comes of it; False when it is time to give up."""
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
                return False
            self._failed(error)
            if self._failures >= FAILURES_TO_GIVE_UP:
                self._give_up(
                    f"{self._failures} images in a row failed, the last one with "
                    f"{type(error).__name__}: {error}"
                )
                return False
        return True

    def _process(self, arrival: Arrival) -> None:
        """One image: convert, notice a break in the stream, remove, prompt, step, hand on."""
        image = self._to_rgb(arrival.message)
        if reason := _break_between(self.last, arrival):
            self._tracker.discontinuity()
            self._carrier.cut()
            self._on_break()
            self._statistics.discontinuities += 1
            self._warn_seldom(
                f"break to {arrival.frame_id}",
                f"{reason}: recent memories dropped, objects are sought anew from their prompts",
            )
        self.last = arrival

        work = self._desk.take(arrival, time.monotonic())
        self._forget(work.removals)
        for object_id, reason in work.rejected.items():
            self._reject(object_id, reason)
        prompts = self._usable(work.prompts, image)
        self._await(work.awaited, prompts)
        self._carrier.take(work.late, time.monotonic())
        # Requests that came one after the other.
        merged = merge_prompts(prompts, on_conflict=self._log.warning)
        result = self._step(image, merged, _seconds(arrival))
        there = {obj.id for obj in result.objects} - result.rejected.keys()  # not what was dropped on the way
        self._statistics.prompted("applied", [each.id for each in prompts if each.id in there])
        self._history.tracked(arrival.stamp_ns, result.frame_index)

        # What was removed while the image was in work must not appear after its removal was confirmed.
        removals = self._desk.settle(result)
        self._forget(removals)
        result.objects = [obj for obj in result.objects if not removals.covers(obj.id)]
        for object_id, reason in result.rejected.items():
            self._reject(object_id, reason)
        if result.forgotten:
            self._log.warning(f"forgotten after being lost too long: {listed(result.forgotten)}")
        if self._stopping.is_set():
            return
        self._deliver(result, image, arrival)
        self._statistics.processed(result)

    def _step(self, image: np.ndarray, prompts: list[Prompt], stamp_s: float) -> FrameResult:
        """Track; when the device's memory is full, drop the newest object and try again without it."""
        while True:
            try:
                return self._tracker.step(image, prompts, stamp_s=stamp_s)
            except Exception as error:
                if not out_of_memory(error) or not self._tracker.object_ids:
                    raise
                newest = self._tracker.object_ids[-1]
                self._tracker.remove(newest)
                free_device_memory()
                prompts = [prompt for prompt in prompts if prompt.id != newest]
                self._statistics.lost("dropped_objects")
                self._log.error(
                    f"out of device memory: the newest object '{newest}' is dropped, the others go on; "
                    "use a smaller model, fewer objects or precision bf16"
                )

    def _carry_on(self) -> None:
        """Bring the earliest late prompt nearer to now."""
        report = self._carrier.advance(until_ns=self.last.stamp_ns if self.last is not None else 0)
        self._desk.ended(report.ended, report.arrived)
        self._statistics.prompted("late", report.arrived)
        self._statistics.prompted("applied", report.arrived)
        for object_id, reason in report.rejected.items():
            self._reject(object_id, f"prompt '{object_id}': {reason}")
        for line in report.said:
            self._log.info(line)

    def _await(self, awaited: dict[str, str], prompts: list[Prompt]) -> None:
        """Objects that are asked for have their label from now on, and are PENDING until their prompt's turn."""
        coming = {*awaited, *(prompt.id for prompt in prompts)}
        for object_id in self._tracker.awaited_ids:
            if object_id not in coming:
                self._tracker.remove(object_id)
        for object_id, class_id in awaited.items():
            if refusal := self._tracker.announce(object_id, class_id):
                self._warn_seldom(refusal, refusal)

    def _reject(self, object_id: str, reason: str) -> None:
        self._statistics.prompted("rejected", [object_id])
        self._log.warning(f"rejected: {reason}")

    def _forget(self, removals: Removals) -> None:
        self._carrier.forget(removals.everything, removals.ids)
        self._statistics.removed(removals.everything, removals.ids)
        if removals.everything:
            self._tracker.reset()
        for object_id in removals.ids:
            self._tracker.remove(object_id)

    def _usable(self, prompts: list[Prompt], image: np.ndarray) -> list[Prompt]:
        """The prompts that fit this image; the others are said to be rejected and cost nothing else."""
        usable = []
        for prompt in prompts:
            try:
                usable.append(prompt.validated(*image.shape[:2]))
            except PromptError as error:
                self._reject(prompt.id, str(error))
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
        self._statistics.prompted("rejected", lost)
        also = f"; prompts for {listed(lost)} are lost with it, send them again" if lost else ""
        self._log.error(f"image failed ({self._failures} in a row): {type(error).__name__}: {error}{also}")


def _break_between(before: Arrival | None, now: Arrival) -> str | None:
    """Why `now` does not continue the stream of `before`, or None when it does."""
    if before is None:
        return None
    if now.frame_id != before.frame_id:
        return f"frame_id changed from '{shown(before.frame_id)}' to '{shown(now.frame_id)}'"
    if now.stamp_ns < before.stamp_ns:
        return f"time jumped back by {(before.stamp_ns - now.stamp_ns) / 1e9:.2f} s"
    return None


def _seconds(arrival: Arrival) -> float:
    """The image's time; a camera that does not stamp its images gets the time of receipt."""
    return arrival.stamp_ns / 1e9 if arrival.stamp_ns else arrival.received_s
