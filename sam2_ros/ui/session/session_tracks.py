# SPDX-License-Identifier: Apache-2.0
"""The tracking of one session: plans runs, saves their masks as one step of the history, and reports them.

Connects the worker's runs with book and store. Does not know prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from sam2_ros.engine import Sam2Model
from sam2_ros.errors import UserError
from sam2_ros.ui.frames import SourceFrames
from sam2_ros.ui.store import MaskRow
from sam2_ros.ui.store.run_lengths import to_mask, to_runs

from .book import Book
from .events import Event, MaskEvent, ObjectMask
from .plan import Plan, Rows, plan_run
from .propagation import TrackedMask, TrackRun
from .snapshots import Snapshots
from .tracking import Keyframe, SourceView
from .worker import Worker

DIRECTIONS = {"forward": (1,), "backward": (-1,), "both": (1, -1), "keyframe": (1,)}


class SessionTracks:
    """Runs of one session, one at a time.

    Attributes:
        run: the run that is going on, or None.
    """

    def __init__(
        self,
        book: Book,
        frames: SourceFrames,
        worker: Worker,
        model_name: str,
        emit: Callable[[Event], None],
        on_end: Callable[[], None],
        snapshot_bytes: int,
    ) -> None:
        self._book, self._frames, self._worker = book, frames, worker
        self._model_name, self._emit, self._on_end = model_name, emit, on_end
        self._snapshots = {sign: Snapshots(snapshot_bytes // 2) for sign in (1, -1)}
        self._title, self._run_id = "", 0
        self._entry: int | None = None  # of the history
        self.run: TrackRun | None = None

    def begin(self, frame: int, direction: str, objects: Sequence[int] | None) -> None:
        """Start a run; returns when it has begun.

        Raises:
            UserError: an unknown direction, or nothing to track.
        """
        if direction not in DIRECTIONS:
            raise UserError(f"direction {direction!r} given, one of {', '.join(DIRECTIONS)} expected")
        if objects is not None and not all(type(n) is int for n in objects):
            raise UserError("objects that are not numbers given, the numbers of objects expected")
        self.cancel()
        together = self._trackable()
        targets = [n for n in together if objects is None or n in objects]
        plans = [
            plan
            for sign in DIRECTIONS[direction]
            if (plan := self._plan(frame, sign, direction == "keyframe", targets)) is not None
        ]
        if not plans:
            raise UserError(
                f"nothing to track {direction} from this frame: prompt an object, unlock one, or go to a frame "
                "that has others in this direction"
            )
        names = [self._book.objects[n].name for n in targets]
        self._title = f"track {names[0] if len(names) == 1 else f'{len(names)} objects'} {direction}"
        self._entry, self._run_id = None, 0
        self._worker.begin(partial(self._made, plans, together, frame))

    def cancel(self) -> bool:
        """End the run, if one is going on; what it has tracked stays."""
        run = self.run
        return run is not None and self._worker.cancel(run)

    def state(self) -> dict[str, Any] | None:
        """`tracking` of the session's state."""
        run = self.run
        if run is None:
            return None
        return {
            "frame": run.frame, "from": run.first, "to": run.to, "done": run.done, "total": run.total,
        }  # fmt: skip

    def keyframes(self, sign: int, objects: Sequence[int]) -> dict[int, dict[int, Keyframe]]:
        """See `Sink`."""
        hw = self._frames.hw
        with self._book.lock:
            known = set(self._trackable()) & set(objects)
            return {
                number: {
                    sign * frame: _keyframe(row, hw) for frame, row in self._book.keyframes[number].items()
                }
                for number in sorted(known)
            }

    def frames(self) -> tuple[int, int, bool]:
        """See `Sink`."""
        done = self._frames.done  # first: what is decoded may grow until then
        return self._frames.count, self._frames.decoded, done

    def save(self, masks: Sequence[TrackedMask]) -> None:
        """See `Sink`."""
        book, width = self._book, self._frames.hw[1]
        with book.lock:
            free = [m for m in masks if m.object in book.objects and m.frame not in book.keyframes[m.object]]
            if not free:
                return
            with book.store.action(book.source, self._title, self._entry) as action:
                self._entry = action.entry
                self._run_id = self._run_id or action.new_run("track", self._model_name)
                action.put([self._row(mask, width) for mask in free])
        book.tell_dropped(action)
        for frame in dict.fromkeys(mask.frame for mask in free):
            rows = book.store.masks_at(book.source, frame)
            found = [ObjectMask.of(row, self._frames.hw) for row in rows]
            self._emit(MaskEvent(book.source, frame, found))

    def report(self, run: TrackRun) -> None:
        """See `Sink`."""
        self._emit(
            {
                "event": "progress", "source": self._book.source, "what": "track", "done": run.done,
                "total": run.total, "fps": round(run.fps, 2), "frame": run.frame,
            }
        )  # fmt: skip

    def ended(self, run: TrackRun, cancelled: bool, error: str) -> None:
        """See `Sink`."""
        self.run = None
        source = self._book.source
        if error:
            self._emit({"event": "notice", "source": source, "text": f"tracking has ended: {error}"})
        self._emit(
            {"event": "tracked", "source": source, "from": run.first, "to": run.to, "cancelled": cancelled}
        )
        self._emit({"event": "lanes", "source": source})
        self._on_end()

    def _made(self, plans: list[Plan], objects: list[int], frame: int, model: Sam2Model) -> TrackRun:
        frames = self._frames
        view = SourceView(frames.exact.read, frames.is_missing, frames.missing_before, frames.stamp_ns)
        self.run = TrackRun(model, plans, objects, view, self._snapshots, self, frame)
        return self.run

    def _trackable(self) -> list[int]:
        """Objects that are tracked together: not locked, with a keyframe that shows them."""
        with self._book.lock:
            return [
                number
                for number, row in sorted(self._book.objects.items())
                if not row.locked and any(key.area for key in self._book.keyframes[number].values())
            ]

    def _plan(self, frame: int, sign: int, first_only: bool, targets: list[int]) -> Plan | None:
        with self._book.lock:
            keyframes = {
                number: {at: row.run_id for at, row in self._book.keyframes[number].items()}
                for number in targets
            }
            rows = {number: self._rows(number) for number in targets}
        return plan_run(frame, sign, first_only, keyframes, rows, targets)

    def _rows(self, number: int) -> Rows:
        found = self._book.store.mask_numbers(self._book.source, number)
        return Rows(
            np.array([row["frame"] for row in found], np.int64),
            np.array([row["run_id"] for row in found], np.int64),
        )

    def _row(self, mask: TrackedMask, width: int) -> MaskRow:
        key = (self._book.source, mask.object, mask.frame)
        scores = (float(mask.presence), float(mask.predicted_iou))
        return MaskRow.of(key, to_runs(mask.mask_hw), width, scores, mask.state, False, self._run_id)


def _keyframe(row: MaskRow, hw: tuple[int, int]) -> Keyframe:
    return Keyframe(row.run_id, not row.area, lambda: to_mask(row.run_lengths, *hw))
