# SPDX-License-Identifier: Apache-2.0
"""One tracking run: steps a tracker along a plan, and hands the masks on in batches.

Runs in the worker, one frame a step, so that clicks are answered in between. Does not know the store or events.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sam2_ros.engine import FrameResult, ObjectState, Sam2Model

from .plan import Plan
from .snapshots import Snapshots
from .tracking import DirectedTracker, Keyframe, SourceView
from .worker import Step

_BATCH_FRAMES, _BATCH_S = 8, 0.25
_ABSENT_PRESENCE = -10.0

Keyframes = Mapping[int, Mapping[int, Keyframe]]
"""By object, by position."""


@dataclass(frozen=True)
class TrackedMask:
    """The mask of one object on one frame, ``[H, W]`` bool."""

    object: int
    frame: int
    mask_hw: np.ndarray
    presence: float
    predicted_iou: float
    state: int


class Sink(Protocol):
    """What a run needs of its session."""

    def keyframes(self, sign: int, objects: Sequence[int]) -> Keyframes:
        """The present keyframes of those of the objects that may still be changed, by object and position."""

    def frames(self) -> tuple[int, int, bool]:
        """Number of frames; of those decoded; and whether all are."""

    def save(self, masks: Sequence[TrackedMask]) -> None:
        """Save masks, but not over keyframes."""

    def report(self, run: TrackRun) -> None:
        """Tell how far the run is."""

    def ended(self, run: TrackRun, cancelled: bool, error: str) -> None:
        """Tell that the run has ended."""


class TrackRun:
    """A run over one or two plans (both directions).

    Attributes:
        frame: the newest frame that was tracked.
        first: the frame from which it was asked for.
        to: the newest frame that was written; `first` before.
        done: number of frames stepped.
        fps: frames per second so far.
    """

    def __init__(
        self,
        model: Sam2Model,
        plans: Sequence[Plan],
        objects: Sequence[int],
        source: SourceView,
        snapshots: Mapping[int, Snapshots],
        sink: Sink,
        first: int,
    ) -> None:
        self._model, self._objects, self._source = model, list(objects), source
        self._snapshots, self._sink = snapshots, sink
        self._plans = list(plans)
        self._plan: Plan | None = None
        self._tracker: DirectedTracker | None = None
        self._ahead: list[int] = []
        self._batch: list[TrackedMask] = []
        self._batch_frames, self._saved_s = 0, time.monotonic()
        self._started_s = time.monotonic()
        self.first = self.frame = self.to = first
        self.done = 0

    @property
    def fps(self) -> float:
        return self.done / max(time.monotonic() - self._started_s, 1e-3)

    @property
    def total(self) -> int:
        """Number of frames from the start to the end, of both directions."""
        total = self.done
        for plan in [*([self._plan] if self._plan else []), *self._plans]:
            at = plan.start
            if plan is self._plan and self._tracker is not None and self._tracker.position is not None:
                at = max(at, self._tracker.position)
            total += max(0, self._end(plan) - 1 - at)
        return total

    def step(self) -> Step:
        """Track the next frame."""
        if self._plan is None or self._tracker is None:
            if not self._plans:
                return Step.ENDED
            self._begin(self._plans.pop(0))
            return Step.WENT_ON
        position = self._ahead[0] if self._ahead else (self._tracker.position or 0) + 1
        frame = position * self._plan.sign
        if position >= self._end(self._plan):
            self._tracker.keep()
            self._plan = self._tracker = None
            return Step.WENT_ON
        _, decoded, complete = self._sink.frames()
        if frame >= decoded and not complete:
            self._save()
            return Step.WAITS
        keyframes = self._sink.keyframes(self._plan.sign, self._objects)
        for gone in self._tracker.objects - set(keyframes):
            self._tracker.remove(gone)
        result = self._tracker.step(position, keyframes)
        if self._ahead:
            self._ahead.pop(0)
        self.frame = frame
        self.done += 1
        if result is not None:
            self._collect(self._plan, position, result, keyframes)
        if self._batch_frames >= _BATCH_FRAMES or time.monotonic() - self._saved_s >= _BATCH_S:
            self._save()
        return Step.WENT_ON

    def finish(self, cancelled: bool, error: str = "") -> None:
        """Save what is there, and report the end."""
        if self._tracker is not None and not error:
            self._tracker.keep()
        try:
            self._save()
        finally:
            self._sink.ended(self, cancelled, error)

    def _begin(self, plan: Plan) -> None:
        keyframes = self._sink.keyframes(plan.sign, self._objects)
        self._plan = plan
        self._tracker = DirectedTracker(
            self._model, max(1, len(self._objects)), plan.sign, self._source, self._snapshots[plan.sign]
        )
        self._ahead = self._tracker.path_to(plan.start, keyframes)

    def _end(self, plan: Plan) -> int:
        return plan.before_end(self._sink.frames()[0])

    def _collect(self, plan: Plan, position: int, result: FrameResult, keyframes: Keyframes) -> None:
        assert self._tracker is not None
        frame, found = position * plan.sign, {int(obj.id): obj for obj in result.objects}
        for number in sorted(self._tracker.objects & set(keyframes)):
            if not plan.writes(number, position) or position in keyframes[number]:
                continue
            obj = found.get(number)
            if obj is None:  # forgotten: hidden for long
                nothing = np.zeros((result.height_px, result.width_px), bool)
                mask = TrackedMask(number, frame, nothing, _ABSENT_PRESENCE, 0.0, ObjectState.LOST)
            else:
                mask = TrackedMask(number, frame, obj.mask, obj.presence, obj.score, int(obj.state))
            self._batch.append(mask)
        self._batch_frames += 1

    def _save(self) -> None:
        batch, self._batch, self._batch_frames = self._batch, [], 0
        self._saved_s = time.monotonic()
        if batch:
            self.to = batch[-1].frame
            self._sink.save(batch)
        self._sink.report(self)
