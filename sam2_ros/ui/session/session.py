# SPDX-License-Identifier: Apache-2.0
"""One opened source: its objects, prompts, masks, tracking and history. Every method has saved when it returns.

Thread-safe: one change at a time, each in the caller's thread; the worker only computes. Knows no HTTP.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from sam2_ros.engine import ObjectState, Sam2Model
from sam2_ros.errors import UserError
from sam2_ros.text import readable, text_problem
from sam2_ros.ui.frames import SourceFrames
from sam2_ros.ui.store import MaskRow, ObjectRow, PromptRow, SourceRow
from sam2_ros.ui.store.run_lengths import to_mask, to_runs, unpack

from . import prompt_edits as edits
from .answers import TRACKED, Answer, FeatureCache, answer, checked_stroke
from .book import Book, merged
from .doubt import MaskNumbers, doubtful_frames
from .events import NEVER_TRACKED, Event, Lane, ObjectMask
from .session_tracks import SessionTracks
from .worker import Worker

COLOURS = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#42d4f4", "#f032e6", "#bfef45",
    "#fabed4", "#469990", "#dcbeff", "#9a6324", "#ffe119", "#800000", "#aaffc3", "#000075",
)  # fmt: skip
_PRESENT, _ABSENT = 10.0, -10.0  # object score logits of a mask that was prompted
_LONGEST_NAME, _LONGEST_SETTINGS = 200, 20_000


class Session:
    """Made by `Workspace.open_source`. Numbers of objects are positive integers; pixels are those of the source."""

    def __init__(
        self,
        source: SourceRow,
        book: Book,
        frames: SourceFrames,
        worker: Worker,
        model: tuple[str, Callable[[], str]],
        limits: tuple[int, int],
        emit: Callable[[Event], None],
    ) -> None:
        """Args: `model` = its name and a function that returns its device; `limits` = objects, bytes of snapshots."""
        self._source, self._book, self._frames, self._worker = source, book, frames, worker
        self._model_name, self._device = model
        self._max_objects, snapshot_bytes = limits
        self._emit = emit
        self._editing = threading.RLock()  # one change at a time; never taken by the worker
        self._features = FeatureCache(frames.image)
        self._preview = 0
        self._tracks = SessionTracks(
            book, frames, worker, self._model_name, emit, self._emit_state, snapshot_bytes
        )

    @property
    def number(self) -> int:
        """The number of its source."""
        return self._source.id

    @property
    def decoded(self) -> int:
        """Number of frames that are decoded: those below it."""
        return self._frames.decoded

    def state(self) -> dict[str, Any]:
        """Everything but masks, as JSON: source, objects with keyframes, history, tracking, settings, model."""
        undo, redo = self._book.store.titles(self._source.id)
        with self._book.lock:
            objects = [self._book.object_state(number) for number in self._book.objects]
        return {
            "source": {
                "number": self._source.id,
                "name": self._source.name,
                "kind": self._source.kind,
                "frames": self._frames.count,
                "decoded": self._frames.decoded,
                "fps": self._source.fps,
                "width": self._source.width,
                "height": self._source.height,
                "stamps_known": bool(self._source.options.get("stamps_known")),
            },
            "objects": objects,
            "undo": undo,
            "redo": redo,
            "tracking": self._tracks.state(),
            "settings": self._book.settings(),
            "model": self._model_name,
            "device": self._device(),
        }

    def frame_jpeg(self, index: int) -> bytes:
        """A frame as JPEG. Raises UserError if there is none."""
        return self._frames.jpeg(self._checked_frame(index))

    def thumbnail(self, index: int, height_px: int) -> bytes:
        """A frame as JPEG of this height."""
        return self._frames.thumbnail(self._checked_frame(index), int(edits.number("height", height_px)))

    def stamp_ns(self, index: int) -> int:
        """Stamp of a frame, nanoseconds."""
        return self._frames.stamp_ns(self._checked_frame(index))

    def is_missing(self, index: int) -> bool:
        """True if the source has no such frame: it does not decode, and the one before it is shown."""
        return self._frames.is_missing(self._checked_frame(index))

    def masks(self, index: int) -> list[ObjectMask]:
        """All masks of a frame, by object."""
        rows = self._book.store.masks_at(self._source.id, self._checked_frame(index))
        return [ObjectMask.of(row, self._frames.hw) for row in rows]

    def lanes(self) -> dict[int, Lane]:
        """State, presence and predicted IoU of every object along the frames."""
        return {number: self._lane(number) for number in list(self._book.objects)}

    def doubt(self) -> dict[str, Any]:
        """Frames worth looking at: ``{"frames": [{"object", "frame", "why"}]}``, see `doubt.doubtful_frames`."""
        found = []
        for number in list(self._book.objects):
            rows = self._book.store.mask_numbers(self._source.id, number)
            names = MaskNumbers.__dataclass_fields__
            numbers = [MaskNumbers(**{name: row[name] for name in names}) for row in rows]
            found += [
                {"object": number, "frame": doubt.frame, "why": doubt.why}
                for doubt in doubtful_frames(numbers)
            ]
        return {"frames": found}

    def preview(self, frame: int, x: float, y: float, sign: int) -> ObjectMask | None:
        """The mask that a click would give an object without other prompts; None if a newer request came."""
        row = edits.with_click(PromptRow(self._source.id, 0, self._checked_frame(frame), []), x, y, sign)
        self._preview += 1
        mine = self._preview
        found = self._worker.call(lambda model: self._answer(row, model) if mine == self._preview else None)
        if found is None or mine != self._preview:
            return None
        presence = _PRESENT if found.mask_hw.any() else _ABSENT
        return ObjectMask(
            0, to_runs(found.mask_hw), *self._frames.hw, presence, found.predicted_iou, ObjectState.TRACKING
        )

    def add_object(self, name: str = "", class_id: str = "") -> dict[str, Any]:
        """Add an object; without a name it is called by its number."""
        with self._editing:
            if len(self._book.objects) >= self._max_objects:
                raise UserError(
                    f"{len(self._book.objects)} objects are there, at most {self._max_objects} expected: delete one"
                )
            checked, class_id = self._checked_name(name, 0) if name else "", _checked_text("class", class_id)
            with self._book.change(f"add {checked or 'object'}") as action:
                number = action.new_object()
                colour = COLOURS[(number - 1) % len(COLOURS)]
                called = checked or self._free_name(number)
                action.put([ObjectRow(self._source.id, number, called, class_id, colour)])
        return self._changed(number)

    def rename(self, object: int, name: str) -> dict[str, Any]:
        """Give an object another name, which no other object has."""
        with self._editing:
            row = self._book.object(object)
            return self._replaced(f"rename {row.name}", replace(row, name=self._checked_name(name, object)))

    def set_class(self, object: int, class_id: str) -> dict[str, Any]:
        """Set the class of an object, any text."""
        with self._editing:
            row = self._book.object(object)
            checked = _checked_text("class", class_id)
            return self._replaced(f"class of {row.name}", replace(row, class_id=checked))

    def set_locked(self, object: int, locked: bool) -> dict[str, Any]:
        """Lock an object, so that prompts and tracking do not change it, or unlock it."""
        with self._editing:
            row = self._book.object(object)
            title = f"{'lock' if locked else 'unlock'} {row.name}"
            return self._replaced(title, replace(row, locked=bool(locked)))

    def delete_object(self, object: int) -> dict[str, Any]:
        """Delete an object with its prompts and masks."""
        with self._editing:
            row = self._book.unlocked(object)
            with self._book.change(f"delete {row.name}") as action:
                action.remove(self._book.store.masks_of(self._source.id, object))
                action.remove([p for p in self._book.prompts.values() if p.object == object])
                action.remove([row])
        self._emit({"event": "lanes", "source": self._source.id})
        self._emit_state()
        return {"deleted": object}

    def click(self, frame: int, object: int, x: float, y: float, sign: int) -> dict[str, Any]:
        """Click: `sign` 1 = on the object, 0 = not on it. Corrects the mask that is there."""
        return self._prompt("click on", frame, object, lambda row: edits.with_click(row, x, y, sign))

    def unclick(self, frame: int, object: int, number: int) -> dict[str, Any]:
        """Take back one click of a frame, counted from 0 as in the state."""
        return self._prompt(
            "take back a click on", frame, object, lambda row: edits.without_click(row, number)
        )

    def box(self, frame: int, object: int, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
        """Draw a box, max exclusive; it replaces the earlier prompts of the object on this frame."""
        return self._prompt("box on", frame, object, lambda row: edits.with_box(row, [x0, y0, x1, y1]))

    def stroke(
        self, frame: int, object: int, points: Sequence[Sequence[float]], radius: float, erase: bool
    ) -> dict[str, Any]:
        """Draw along points (x, y) with a brush of this radius in pixels, or erase."""
        checked, size = checked_stroke(points, radius, self._frames.hw)
        title = "erase in" if erase else "draw on"
        return self._prompt(title, frame, object, lambda row: edits.with_stroke(row, checked, size, erase))

    def clear(self, frame: int, object: int) -> dict[str, Any]:
        """Take back all prompts of an object on a frame; a tracked mask that was there before returns."""
        return self._prompt("clear", frame, object, lambda row: replace(row, items=[]))

    def track(self, frame: int, direction: str, objects: Sequence[int] | None = None) -> dict[str, Any]:
        """Track from a frame: "forward", "backward", "both", or "keyframe" = forward to the next keyframe.

        All unlocked objects are tracked together; only those in `objects` (None = all) are written. Returns when it has
        begun; events tell the rest. A run that is going on is cancelled first.
        """
        with self._editing:
            self._tracks.begin(self._checked_frame(frame), direction, objects)
        self._emit_state()
        return {"tracking": self._tracks.state()}

    def cancel(self) -> dict[str, Any]:
        """End tracking; what is done stays."""
        return {"cancelled": self._tracks.cancel()}

    def undo(self) -> dict[str, Any]:
        """Undo the newest action; tracking is ended first."""
        return self._step(self._book.store.undo, "undone")

    def redo(self) -> dict[str, Any]:
        """Redo what was undone last; tracking is ended first."""
        return self._step(self._book.store.redo, "redone")

    def set_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Merge values into the settings; not part of the history."""
        if not isinstance(settings, dict) or not _is_small_json(settings):
            raise UserError(f"settings {readable(repr(settings)[:80])} given, a small JSON object expected")
        with self._editing:
            self._book.store.put_settings(self._source.id, merged(self._book.settings(), settings))
        self._emit_state()
        return {"settings": self._book.settings()}

    def all_decoded(self) -> tuple[int, str]:
        """Called when the decoder has ended: tells it, and returns the number of frames and the error, if any."""
        if self._frames.error:
            self._emit({"event": "notice", "source": self._source.id, "text": self._frames.error})
        self._emit_state()
        return self._frames.count, self._frames.error

    def close(self) -> None:
        """End tracking and decoding; everything is saved already."""
        self._tracks.cancel()
        self._frames.close()

    def _prompt(
        self, title: str, frame: int, object: int, edit: Callable[[PromptRow], PromptRow]
    ) -> dict[str, Any]:
        with self._editing:
            name = self._book.unlocked(object).name
            key = (self._source.id, object, self._checked_frame(frame))
            stored = self._book.prompts.get(key[1:])
            before = edits.prompts_to_edit(key, stored, self._book.mask_row(object, frame))
            row = edit(before)
            found = self._worker.call(partial(self._answer, row)) if edits.has_prompts(row) else None
            with self._book.change(f"{title} {name}") as action:
                if found is not None:
                    action.put([row])
                    action.put([self._keyframe(key, found, action.new_run("prompt", self._model_name))])
                elif stored is not None:
                    tracked = edits.tracked_again(before, self._frames.hw[1])
                    action.remove([before])
                    action.put([tracked]) if tracked else action.remove([self._book.keyframes[object][frame]])
        self._emit({"event": "lanes", "source": self._source.id})
        return self._changed(object) | {"frame": frame}

    def _answer(self, row: PromptRow, model: Sam2Model) -> Answer:
        """In the worker: decode the prompts of a frame."""
        base = None
        if row.base is not None and edits.corrects_base(row):
            base = to_mask(unpack(row.base), *self._frames.hw)
        segmenter = self._features.segmenter(model, row.frame)
        items = [item for item in row.items if item[0] != TRACKED]
        return answer(segmenter, items, self._frames.hw, base)

    def _keyframe(self, key: tuple[int, int, int], found: Answer, run: int) -> MaskRow:
        seen = bool(found.mask_hw.any())
        scores = (_PRESENT if seen else _ABSENT, found.predicted_iou)
        state = ObjectState.TRACKING if seen else ObjectState.OCCLUDED
        return MaskRow.of(key, to_runs(found.mask_hw), self._frames.hw[1], scores, int(state), True, run)

    def _step(self, step: Callable[[int], str], word: str) -> dict[str, Any]:
        with self._editing:
            self._tracks.cancel()
            with self._book.lock:
                title = step(self._source.id)
                self._book.read()
        self._emit({"event": "lanes", "source": self._source.id})
        self._emit_state()
        return {word: title}

    def _replaced(self, title: str, row: ObjectRow) -> dict[str, Any]:
        with self._book.change(title) as action:
            action.put([row])
        return self._changed(row.object)

    def _changed(self, number: int) -> dict[str, Any]:
        self._emit_state()
        with self._book.lock:
            self._book.object(number)  # another change may have deleted it
            return {"object": self._book.object_state(number)}

    def _emit_state(self) -> None:
        self._emit({"event": "state", **self.state()})

    def _lane(self, number: int) -> Lane:
        count = self._frames.count
        lane = Lane(
            np.full(count, NEVER_TRACKED, np.uint8),
            np.zeros(count, np.float32),
            np.zeros(count, np.float32),
            np.zeros(count, bool),
        )
        rows = self._book.store.mask_numbers(self._source.id, number)
        rows = [row for row in rows if row["frame"] < count]
        at = np.array([row["frame"] for row in rows], np.int64)
        lane.state[at] = [row["state"] for row in rows]
        lane.presence[at] = [row["presence"] for row in rows]
        lane.predicted_iou[at] = [row["predicted_iou"] for row in rows]
        lane.keyframe[at] = [row["keyframe"] for row in rows]
        return lane

    def _checked_frame(self, index: Any) -> int:
        count = self._frames.count
        if type(index) is not int or index < 0 or (count and index >= count):
            raise UserError(f"frame {index!r} given, a frame from 0 to {count - 1} expected")
        return index

    def _checked_name(self, name: Any, number: int) -> str:
        checked = _checked_text("name", name).strip()
        if not checked:
            raise UserError("an empty name given, a text expected")
        if any(row.name == checked and row.object != number for row in self._book.objects.values()):
            raise UserError(f"another object is called '{readable(checked)}': give each its own name")
        return checked

    def _free_name(self, number: int) -> str:
        taken = {row.name for row in self._book.objects.values()}
        name = f"object {number}"
        while name in taken:
            name += "'"
        return name


def _is_small_json(value: Any) -> bool:
    try:
        return len(json.dumps(value, allow_nan=False)) <= _LONGEST_SETTINGS
    except (TypeError, ValueError, RecursionError):
        return False


def _checked_text(what: str, text: Any) -> str:
    if problem := text_problem(text):
        raise UserError(f"the {what} {problem}: expected text, such as cup")
    if len(text) > _LONGEST_NAME:
        raise UserError(f"a {what} of {len(text)} characters: expected at most {_LONGEST_NAME}")
    return str(text)
