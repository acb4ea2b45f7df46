"""Late prompts: applied to the image they were made on, then carried to now in slices between the stream's images.

Knows trackers and the history of images; no ROS. A second tracker, the scout, with a memory of its own does the
work; when it has caught up, the stream's tracker adopts what it remembers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sam2_ros.engine import Prompt, PromptError, Tracker
from sam2_ros.engine.prompt import merge_prompts
from sam2_ros.media.pixels.image_error import ImageError

from .frame_history import Arrival, FrameHistory

MAX_CARRIED_IMAGES = 8
DEADLINE_S = 0.6  # after a prompt's arrival; its first current mask is to be out within 1 s
BUSY_SHARE = 0.18  # of the time, while the stream wants all of it: the rest keep at least 80 % of their rate


@dataclass(frozen=True)
class LatePrompt:
    """A prompt made on an image that is past, and when it was asked for (steady clock)."""

    prompt: Prompt
    image: Arrival
    submitted_s: float


@dataclass
class Report:
    """What became of late prompts.

    Attributes:
        ended: ids of the prompts that travel no more, one entry per prompt.
        arrived: ids that live in the stream's tracker from now on.
        rejected: id -> reason.
        said: lines for the log.
    """

    ended: list[str] = field(default_factory=list)
    arrived: list[str] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


@dataclass(eq=False)
class _Journey:
    """The prompts of one image on their way to now."""

    image: Arrival
    prompts: list[Prompt]
    deadline_s: float
    at_ns: int | None = None  # the image it has come to; None = not begun
    begun_s: float = 0.0
    carried: int = 0


class Carrier:
    """Used by the worker's thread only.

    Args:
        tracker: the stream's.
        scout: another tracker of the same model, with room for as many objects.
        to_rgb: message -> [H, W, 3] uint8 RGB, ImageError when it cannot be read.
    """

    def __init__(
        self, tracker: Tracker, scout: Tracker, history: FrameHistory, to_rgb: Callable[[Any], np.ndarray]
    ) -> None:
        self._tracker = tracker
        self._scout = scout
        self._history = history
        self._to_rgb = to_rgb
        self._journeys: list[_Journey] = []
        self._busy_since_s = 0.0
        self._spent_s = 0.0  # since then
        self._step_s = 0.0  # what the last slice took

    @property
    def busy(self) -> bool:
        return bool(self._journeys)

    def take(self, late: Iterable[LatePrompt], now_s: float) -> None:
        """Plan journeys for late prompts; those of one image travel together, in the order in which they came."""
        for prompt in late:
            if not self._journeys:
                self._busy_since_s, self._spent_s = now_s, 0.0
            for journey in self._journeys:
                if journey.image is prompt.image and journey.at_ns is None:
                    journey.prompts.append(prompt.prompt)
                    break
            else:
                self._journeys.append(
                    _Journey(prompt.image, [prompt.prompt], prompt.submitted_s + DEADLINE_S)
                )

    def forget(self, everything: bool, ids: Sequence[str]) -> None:
        """Objects that were removed travel no further."""
        if everything:
            self._journeys.clear()
        for journey in self._journeys:
            journey.prompts = [prompt for prompt in journey.prompts if prompt.id not in ids]
        self._journeys = [journey for journey in self._journeys if journey.prompts]

    def cut(self) -> None:
        """The stream has jumped: nothing between a prompt's image and now is worth travelling through."""
        for journey in self._journeys:
            journey.carried = MAX_CARRIED_IMAGES

    def due(self, idle: bool, now_s: float) -> bool:
        """Whether the next slice may run: when no image of the stream waits, or within a small share of the time."""
        if not self._journeys or idle:
            return bool(self._journeys)
        within_share = self._spent_s + self._step_s <= BUSY_SHARE * (now_s - self._busy_since_s)
        return within_share or now_s > self._journeys[0].deadline_s

    def advance(self, until_ns: int) -> Report:
        """Carry the first journey over one more image, at most to the one of `until_ns`, the stream's last.

        What the scout raises ends the journey, and its prompts are rejected.
        """
        journey, report, begun_s = self._journeys[0], Report(), time.monotonic()
        travelling = [prompt.id for prompt in journey.prompts]
        try:
            if journey.at_ns is None:
                self._begin(journey, report)
            else:
                self._carry(journey, until_ns)
            if journey.prompts and not self._next_image(journey, until_ns):
                self._arrive(journey, report)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            report.rejected.update({prompt.id: reason for prompt in journey.prompts})
            journey.prompts = []
        for prompt in journey.prompts:
            travelling.remove(prompt.id)
        report.ended = travelling
        if not journey.prompts:
            self._journeys.remove(journey)
        self._step_s = time.monotonic() - begun_s
        self._spent_s += self._step_s
        return report

    def _begin(self, journey: _Journey, report: Report) -> None:
        """Apply the prompts on their own image; objects that live already come with their memory of before it."""
        scout, image = self._scout, journey.image
        journey.begun_s, journey.at_ns = time.monotonic(), image.stamp_ns
        try:
            frame = self._to_rgb(image.message)
        except ImageError as error:
            report.rejected.update(
                {prompt.id: f"its image is unreadable: {error}" for prompt in journey.prompts}
            )
            journey.prompts = []
            return
        usable = []
        for prompt in journey.prompts:
            try:
                usable.append(prompt.validated(*frame.shape[:2]))
            except PromptError as error:
                report.rejected[prompt.id] = str(error)
        journey.prompts = usable
        if not usable:
            return
        scout.restart()
        scout.config = self._tracker.config
        before = self._history.frame_index_from(image.stamp_ns)
        for prompt in usable:
            if self._tracker.remembers(prompt.id) and not prompt.replace:
                scout.adopt(prompt.id, self._tracker, before)
        # As the stream does with requests that came one after the other.
        merged = merge_prompts(usable, on_conflict=report.said.append)
        scout.step(frame, merged, stamp_s=image.stamp_ns / 1e9)

    def _next_image(self, journey: _Journey, until_ns: int) -> Arrival | None:
        """Where to go next, so that the images left to visit are evenly spaced; None when it is time to arrive."""
        assert journey.at_ns is not None
        ahead = self._history.between(journey.at_ns, until_ns)
        now_s = time.monotonic()
        pace_s = max(self._step_s, (now_s - journey.begun_s) / (1 + journey.carried))
        in_time = (journey.deadline_s - now_s) / max(pace_s, 1e-6)
        visits = min(MAX_CARRIED_IMAGES - journey.carried, math.floor(in_time))
        if not ahead or visits <= 0:
            return None
        return ahead[math.ceil(len(ahead) / visits) - 1]

    def _carry(self, journey: _Journey, until_ns: int) -> None:
        if (image := self._next_image(journey, until_ns)) is None:
            return
        journey.at_ns = image.stamp_ns
        journey.carried += 1
        try:
            frame = self._to_rgb(image.message)
        except ImageError:
            return  # the stream has said so already
        self._scout.step(frame, stamp_s=image.stamp_ns / 1e9)

    def _arrive(self, journey: _Journey, report: Report) -> None:
        for object_id in dict.fromkeys(prompt.id for prompt in journey.prompts):
            if object_id not in self._scout.object_ids:
                report.rejected[object_id] = "lost for longer than forget_after on the way to now"
            elif refusal := self._tracker.adopt(object_id, self._scout):
                report.rejected[object_id] = refusal
            else:
                report.arrived.append(object_id)
        if report.arrived:
            late_s = (self._history.newest_stamp_ns - journey.image.stamp_ns) / 1e9
            report.said.append(
                f"{', '.join(report.arrived)}: prompted on an image {late_s:.2f} s old, carried to now over "
                f"{journey.carried} images"
            )
        journey.prompts = []
