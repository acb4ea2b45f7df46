# SPDX-License-Identifier: Apache-2.0
"""Applies late prompts to the image they were made on, and tracks their objects from there to the newest image.

A second tracker, the catch-up tracker, does this one image at a time, between the images of the stream. When it has
caught up, the stream's tracker adopts the memory of its objects. Knows trackers and the image history; no ROS.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from sam2_ros.engine import Tracker
from sam2_ros.engine.adoption import adopt
from sam2_ros.engine.prompt import merge_prompts
from sam2_ros.errors import one_line
from sam2_ros.media.pixels.image_error import ImageError

from .convert import ImageDecoder
from .frame_history import FrameHistory, StampedImage
from .prompt_queue import QueuedPrompt, usable_prompts

MAX_CATCH_UP_IMAGES = 8
DEADLINE_S = 0.6  # after a prompt's arrival, so that its first mask on a current image comes within 1 s
BUSY_SHARE = (
    0.18  # share of the time while images of the stream wait: the stream keeps at least 80 % of its rate
)


@dataclass
class CatchUpReport:
    """Outcome of one slice of catch-up work.

    Attributes:
        ended: prompts that are finished, arrived or rejected.
        arrived: prompts whose objects the stream's tracker has adopted.
        rejected: prompt -> reason.
        messages: lines for the log.
    """

    arrived: list[QueuedPrompt] = field(default_factory=list)
    rejected: dict[QueuedPrompt, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def ended(self) -> list[QueuedPrompt]:
        return [*self.arrived, *self.rejected]


@dataclass(eq=False)
class _CatchUp:
    """The late prompts of one image, being brought to the newest image."""

    image: StampedImage
    prompts: list[QueuedPrompt]
    deadline_s: float
    at_ns: int | None = None  # stamp of the image it has reached; None = not begun
    begun_s: float = 0.0
    images: int = 0  # number of images tracked after the first

    def reject(self, report: CatchUpReport, queued: QueuedPrompt, reason: str) -> None:
        self.prompts.remove(queued)
        report.rejected[queued] = reason


class LatePrompts:
    """The late prompts of one stream. Used by the worker's thread only.

    Args:
        tracker: the stream's tracker.
        catch_up_tracker: another tracker of the same model, with room for as many objects.
    """

    def __init__(
        self, tracker: Tracker, catch_up_tracker: Tracker, history: FrameHistory, decoder: ImageDecoder
    ) -> None:
        self._tracker = tracker
        self._catch_up_tracker = catch_up_tracker
        self._history = history
        self._decoder = decoder
        self._catch_ups: list[_CatchUp] = []
        self._busy_since_s = 0.0
        self._spent_s = 0.0  # catch-up work since then
        self._step_s = 0.0  # duration of the last slice

    @property
    def busy(self) -> bool:
        """True while prompts are catching up. Drops prompts whose object was removed."""
        for catch_up in self._catch_ups:
            catch_up.prompts = [queued for queued in catch_up.prompts if queued.object.exists]
        self._catch_ups = [catch_up for catch_up in self._catch_ups if catch_up.prompts]
        return bool(self._catch_ups)

    def take(self, late: Iterable[QueuedPrompt], now_s: float) -> None:
        """Add late prompts. Prompts of one image catch up together, in order of arrival."""
        for queued in late:
            assert queued.image is not None
            if not self._catch_ups:
                self._busy_since_s, self._spent_s = now_s, 0.0
            for catch_up in self._catch_ups:
                if catch_up.image is queued.image and catch_up.at_ns is None:
                    catch_up.prompts.append(queued)
                    break
            else:
                deadline_s = queued.submitted_s + DEADLINE_S
                self._catch_ups.append(_CatchUp(queued.image, [queued], deadline_s))

    def skip_images(self) -> None:
        """The stream has jumped: do not track the images between a prompt's image and the newest one."""
        for catch_up in self._catch_ups:
            catch_up.images = MAX_CATCH_UP_IMAGES

    def due(self, idle: bool, now_s: float) -> bool:
        """True if the next slice may run: no image of the stream waits, BUSY_SHARE is not used up, or it is overdue."""
        busy = self.busy
        if not busy or idle:
            return busy
        within_share = self._spent_s + self._step_s <= BUSY_SHARE * (now_s - self._busy_since_s)
        return within_share or now_s > self._catch_ups[0].deadline_s

    def advance(self, until_ns: int) -> CatchUpReport:
        """Track the earliest late prompts over one more image, at most up to the stream's last image at `until_ns`.

        If the catch-up tracker raises, these prompts are rejected. Call only while `busy`.
        """
        catch_up, report, begun_s = self._catch_ups[0], CatchUpReport(), time.monotonic()
        try:
            if catch_up.at_ns is None:
                self._begin(catch_up, report)
            else:
                self._visit(catch_up, until_ns)
            if catch_up.prompts and not self._next_image(catch_up, until_ns):
                self._arrive(catch_up, report)
        except Exception as error:
            for queued in list(catch_up.prompts):
                catch_up.reject(report, queued, one_line(error))
        if not catch_up.prompts:
            self._catch_ups.remove(catch_up)
        self._step_s = time.monotonic() - begun_s
        self._spent_s += self._step_s
        return report

    def _begin(self, catch_up: _CatchUp, report: CatchUpReport) -> None:
        """Apply the prompts to their own image. Existing objects bring their memory from before that image."""
        tracker, image = self._catch_up_tracker, catch_up.image
        catch_up.begun_s, catch_up.at_ns = time.monotonic(), image.stamp_ns
        try:
            frame = self._decoder.to_rgb(image.message)
        except ImageError as error:
            for queued in list(catch_up.prompts):
                catch_up.reject(report, queued, f"its image is unreadable: {error}")
            return
        usable, rejected = usable_prompts(catch_up.prompts, frame.shape[:2])
        for queued, reason in rejected:
            catch_up.reject(report, queued, reason)
        if not usable:
            return
        tracker.restart()
        tracker.config = self._tracker.config
        before = self._history.frame_index_from(image.stamp_ns)
        for queued in usable:
            if queued.id in self._tracker.object_ids and not queued.prompt.replace:
                adopt(queued.id, self._tracker, tracker, before)
        # As the stream does with several prompts for one object.
        merged = merge_prompts([queued.prompt for queued in usable], on_conflict=report.messages.append)
        tracker.step(frame, merged, stamp_s=image.stamp_ns / 1e9)

    def _next_image(self, catch_up: _CatchUp, until_ns: int) -> StampedImage | None:
        """The next image to track, evenly spaced in the time left; None if it is time to hand over."""
        assert catch_up.at_ns is not None
        ahead = self._history.between(catch_up.at_ns, until_ns)
        now_s = time.monotonic()
        pace_s = max(self._step_s, (now_s - catch_up.begun_s) / (1 + catch_up.images))
        in_time = (catch_up.deadline_s - now_s) / max(pace_s, 1e-6)
        visits = min(MAX_CATCH_UP_IMAGES - catch_up.images, math.floor(in_time))
        if not ahead or visits <= 0:
            return None
        return ahead[math.ceil(len(ahead) / visits) - 1]

    def _visit(self, catch_up: _CatchUp, until_ns: int) -> None:
        if (image := self._next_image(catch_up, until_ns)) is None:
            return
        catch_up.at_ns = image.stamp_ns
        catch_up.images += 1
        try:
            frame = self._decoder.to_rgb(image.message)
        except ImageError:
            return  # the stream has reported it already
        self._catch_up_tracker.step(frame, stamp_s=image.stamp_ns / 1e9)

    def _arrive(self, catch_up: _CatchUp, report: CatchUpReport) -> None:
        arrived: dict[str, None] = {}
        for queued in list(catch_up.prompts):
            if queued.id not in self._catch_up_tracker.object_ids:
                catch_up.reject(
                    report, queued, "hidden for longer than forget_after between its image and the newest one"
                )
            elif queued.id not in arrived and (
                refusal := adopt(queued.id, self._catch_up_tracker, self._tracker)
            ):
                catch_up.reject(report, queued, refusal)
            else:
                report.arrived.append(queued)
                arrived[queued.id] = None
        if arrived:
            late_s = (self._history.newest_stamp_ns - catch_up.image.stamp_ns) / 1e9
            report.messages.append(
                f"{', '.join(arrived)}: prompted on an image {late_s:.2f} s old, tracked to the newest one over "
                f"{catch_up.images} images"
            )
        catch_up.prompts = []
