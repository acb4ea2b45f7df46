# SPDX-License-Identifier: Apache-2.0
"""The inference thread: takes the newest image, applies its prompts, steps the tracker, delivers the result.

Knows no ROS: reading image messages and publishing results are done by objects it is given.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from sam2_ros.engine import FrameResult, Prompt, Tracker
from sam2_ros.engine.prompt import merge_prompts
from sam2_ros.errors import one_line
from sam2_ros.media.pixels.image_error import ImageError

from .convert import ImageDecoder
from .diagnostics import Statistics
from .frame_history import FrameHistory, StampedImage
from .late_prompts import LatePrompts
from .limits import listed, shown
from .loading import free_device_memory, out_of_memory
from .mailbox import Mailbox
from .object_registry import DROPPED
from .prompt_outcome import Outcome
from .prompt_queue import PromptQueue, QueuedPrompt, usable_prompts
from .state.turns import Turns

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

    from .outputs.result_publisher import ResultPublisher

FAILURES_TO_GIVE_UP = 3
WARNING_PERIOD_S = 1.0


class Worker:
    """Runs from `start` to `stop`. Others use the trackers only in turns with this thread.

    Args:
        results: publishes the results; must not block this thread.
        give_up: called once from this thread, with the reason, after three images in a row failed.
        last: the last image that an earlier worker of the same tracker has tracked.
        turns: for others who use the tracker between two images.
    """

    def __init__(
        self,
        tracker: Tracker,
        late_prompts: LatePrompts,
        history: FrameHistory,
        queue: PromptQueue,
        mailbox: Mailbox[StampedImage],
        statistics: Statistics,
        decoder: ImageDecoder,
        results: ResultPublisher,
        give_up: Callable[[str], None],
        log: RcutilsLogger,
        last: StampedImage | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._tracker = tracker
        self._late_prompts = late_prompts
        self._history = history
        self._queue = queue
        self._mailbox = mailbox
        self._statistics = statistics
        self._decoder = decoder
        self._results = results
        self._give_up = give_up
        self._log = log
        self.last = last
        self._turns = turns or Turns()
        self._thread = threading.Thread(target=self._run, name="sam2-worker", daemon=True)
        self._stopping = threading.Event()
        self._failures = 0
        self._warned_s: dict[str, float] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience_s: float = 30.0) -> bool:
        """Stop after the image in progress, whose result is not published.

        Returns False if that takes longer than `patience_s`; the thread then ends by itself.
        """
        self._stopping.set()
        self._mailbox.close()
        if self._thread.is_alive():
            self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Images come first. Late prompts catch up while no image waits, or within their share of the time."""
        while not self._stopping.is_set():
            image = self._mailbox.take(timeout_s=0.0 if self._late_prompts.busy else None)
            with self._turns.image():
                if image is not None and not self._handled(image):
                    return
                idle = not self._mailbox.waiting
                if not self._stopping.is_set() and self._late_prompts.due(idle, time.monotonic()):
                    self._catch_up()

    def _handled(self, image: StampedImage) -> bool:
        """Process one image and handle its errors; False after FAILURES_TO_GIVE_UP failures in a row."""
        try:
            self._process(image)
            self._failures = 0
        except ImageError as error:
            self._statistics.lost("skipped")
            self._warn_seldom(
                "skipped", f"image skipped ({self._statistics.losses['skipped']} so far): {error}"
            )
        except Exception as error:
            # An error of the model, the driver or memory loses this image only.
            if self._stopping.is_set():
                return False
            self._failed(error)
            if self._failures >= FAILURES_TO_GIVE_UP:
                self._give_up(f"{self._failures} images in a row failed, the last one with {one_line(error)}")
                return False
        return True

    def _process(self, stamped: StampedImage) -> None:
        """One image: convert it, detect a jump of the stream, remove objects, prompt, step, deliver the result."""
        image = self._decoder.to_rgb(stamped.message)
        self._notice_break(stamped)
        prompts = self._take_prompts(stamped, image)
        # Several prompts may be for one object.
        merged = merge_prompts([queued.prompt for queued in prompts], on_conflict=self._log.warning)
        result = self._step(image, merged, _seconds(stamped))
        self._history.mark_tracked(stamped.stamp_ns, result.frame_index)
        self._count_answers(prompts, result, stamped)
        self._queue.settle(result)
        if result.forgotten:
            self._log.warning(f"hidden for longer than forget_after and removed: {listed(result.forgotten)}")
        if self._stopping.is_set():
            return
        self._results.deliver(result, image, stamped)
        self._statistics.processed(result)

    def _notice_break(self, stamped: StampedImage) -> None:
        """After a jump of the stream, drop recent memories, and wait for no transform and no catch-up."""
        if reason := _break_between(self.last, stamped):
            self._tracker.discontinuity()
            self._late_prompts.skip_images()
            self._results.discontinuity()
            self._statistics.discontinuities += 1
            self._warn_seldom(
                f"break to {stamped.frame_id}",
                f"{reason}: recent memories are dropped, objects are searched for again from their prompts",
            )
        self.last = stamped

    def _take_prompts(self, stamped: StampedImage, image: np.ndarray) -> list[QueuedPrompt]:
        """The prompts to apply to this image. Starts the late ones, and drops removed objects from the tracker."""
        now_s = time.monotonic()
        due = self._queue.take(stamped, now_s)
        for object_id in self._tracker.object_ids:
            if not self._queue.objects.is_tracked(object_id):
                self._tracker.remove(object_id)
        self._late_prompts.take(due.late, now_s)
        usable, rejected = usable_prompts(due.prompts, image.shape[:2])
        for queued, reason in (*due.rejected, *rejected):
            self._reject(queued, reason)
        return usable

    def _count_answers(
        self, prompts: Iterable[QueuedPrompt], result: FrameResult, image: StampedImage
    ) -> None:
        tracked = {obj.id for obj in result.objects}
        for queued in prompts:
            if reason := result.rejected.get(queued.id):
                self._reject(queued, reason)
            elif queued.id in tracked:
                self._statistics.prompted("applied", [queued])
                self._queue.conclude(queued, Outcome.APPLIED, image)
            else:
                self._queue.conclude(queued, Outcome.REJECTED, image, f"prompt '{queued.id}': {DROPPED}")

    def _step(self, image: np.ndarray, prompts: list[Prompt], stamp_s: float) -> FrameResult:
        """Track one image. If device memory is full, drop the newest object and try again."""
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
                    f"out of device memory: the newest object '{newest}' is dropped, the others are tracked on; "
                    "use a smaller model, fewer objects or precision bf16"
                )

    def _catch_up(self) -> None:
        """Run one slice of catch-up work for the earliest late prompts."""
        report = self._late_prompts.advance(until_ns=self.last.stamp_ns if self.last is not None else 0)
        self._queue.finish(report.ended, report.arrived)
        self._statistics.prompted("late", report.arrived)
        self._statistics.prompted("applied", report.arrived)
        for queued in report.arrived:
            self._queue.conclude(queued, Outcome.LATE)
        for queued, reason in report.rejected.items():
            self._reject(queued, f"prompt '{queued.id}': {reason}")
        for line in report.messages:
            self._log.info(line)

    def _reject(self, queued: QueuedPrompt, reason: str) -> None:
        self._statistics.prompted("rejected", [queued])
        self._queue.conclude(queued, Outcome.REJECTED, reason=reason)
        self._log.warning(f"rejected: {reason}")

    def _warn_seldom(self, kind: str, message: str) -> None:
        """Log a warning at most once per second and kind: a broken stream causes it with every image."""
        now_s = time.monotonic()
        if now_s - self._warned_s.get(kind, -math.inf) >= WARNING_PERIOD_S:
            self._warned_s[kind] = now_s
            self._log.warning(message)

    def _failed(self, error: Exception) -> None:
        lost = self._queue.abandon(f"its image failed: {one_line(error)}; send it again")
        self._failures += 1
        self._statistics.lost("failed")
        self._statistics.prompted("rejected", lost)
        ids = listed([queued.id for queued in lost])
        also = f"; the prompts for {ids} are lost with it, send them again" if lost else ""
        self._log.error(f"image failed ({self._failures} in a row): {one_line(error)}{also}")


def _break_between(before: StampedImage | None, now: StampedImage) -> str | None:
    """Why `now` does not continue the stream of `before`; None if it does."""
    if before is None:
        return None
    if now.frame_id != before.frame_id:
        return f"frame_id changed from '{shown(before.frame_id)}' to '{shown(now.frame_id)}'"
    if now.stamp_ns < before.stamp_ns:
        return f"time jumped back by {(before.stamp_ns - now.stamp_ns) / 1e9:.2f} s"
    return None


def _seconds(image: StampedImage) -> float:
    """The image's time in seconds: its stamp, or the time of receipt if it has none."""
    return image.stamp_ns / 1e9 if image.stamp_ns else image.received_s
