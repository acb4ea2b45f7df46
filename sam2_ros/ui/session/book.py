# SPDX-License-Identifier: Apache-2.0
"""The objects, prompts and keyframes of one source as they are in the store, under one lock.

Every change is an action of the store, after which the book is read again. Does not know the model or frames.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sam2_ros.errors import UserError
from sam2_ros.text import counted
from sam2_ros.ui.store import MaskRow, ObjectRow, PromptRow, Store
from sam2_ros.ui.store.action import Action

from .answers import BOX, CLICK, STROKE
from .prompt_edits import corrects_base

DEFAULT_SETTINGS: dict[str, Any] = {
    "background": {"effect": "original", "strength": 0.5, "colours": ["#1d3557", "#a8dadc"]},
    "object": {"effect": "overlay", "strength": 0.5, "emoji": ""},
    "opacity": 0.5,
    "hidden": [],
    "solo": None,
}


class Book:
    """What a source's users have made, apart from tracked masks.

    Attributes:
        lock: held while anything of it is read together or changed.
        source: number of the source.
        objects: by number.
        prompts: by object and frame.
        keyframes: by object, by frame: the masks made by prompts.
    """

    def __init__(self, store: Store, source: int, notice: Callable[[str], None]) -> None:
        self.store, self.source, self._notice = store, source, notice
        self.lock = threading.RLock()
        self.objects: dict[int, ObjectRow] = {}
        self.prompts: dict[tuple[int, int], PromptRow] = {}
        self.keyframes: dict[int, dict[int, MaskRow]] = {}
        self.read()

    def read(self) -> None:
        """Read everything again from the store."""
        with self.lock:
            self.objects = {row.object: row for row in self.store.objects(self.source)}
            self.prompts = {(row.object, row.frame): row for row in self.store.prompts(self.source)}
            self.keyframes = {number: {} for number in self.objects}
            for row in self.store.keyframes(self.source):
                self.keyframes.setdefault(row.object, {})[row.frame] = row

    @contextmanager
    def change(self, title: str) -> Iterator[Action]:
        """One action, see `Store.action`."""
        with self.lock:
            with self.store.action(self.source, title) as action:
                yield action
            self.read()
        self.tell_dropped(action)

    def tell_dropped(self, action: Action) -> None:
        """Announce history that was dropped to make room."""
        if action.dropped:
            self._notice(
                f"the history is full: the oldest {counted(action.dropped, 'step')} can no longer be undone"
            )

    def object(self, number: Any) -> ObjectRow:
        """The object of a number. Raises UserError if there is none."""
        found = self.objects.get(number) if type(number) is int else None
        if found is None:
            known = ", ".join(map(str, self.objects)) or "none yet"
            raise UserError(f"object {number!r} given, the number of an object expected: {known}")
        return found

    def unlocked(self, number: Any) -> ObjectRow:
        """The object of a number, which may be changed. Raises UserError if it is locked."""
        found = self.object(number)
        if found.locked:
            raise UserError(f"'{found.name}' is locked: unlock it to change it")
        return found

    def mask_row(self, number: int, frame: int) -> MaskRow | None:
        """The stored mask of an object on a frame."""
        return next(iter(self.store.masks_of(self.source, number, frame, frame + 1)), None)

    def settings(self) -> dict[str, Any]:
        """The settings, with defaults for what was never set."""
        return merged(DEFAULT_SETTINGS, self.store.settings(self.source))

    def object_state(self, number: int) -> dict[str, Any]:
        """An object as JSON, see `Session.state`."""
        row = self.objects[number]
        keys = [self._keyframe_state(number, frame) for frame in sorted(self.keyframes.get(number, {}))]
        return {
            "object": row.object,
            "name": row.name,
            "class": row.class_id,
            "colour": row.colour,
            "locked": row.locked,
            "keyframes": keys,
        }

    def _keyframe_state(self, number: int, frame: int) -> dict[str, Any]:
        prompt = self.prompts.get((number, frame))
        items = prompt.items if prompt else []
        drawn = any(item[0] == STROKE for item in items) or (prompt is not None and corrects_base(prompt))
        return {
            "frame": frame,
            "points": [item[1:] for item in items if item[0] == CLICK],
            "box": next((item[1:] for item in items if item[0] == BOX), None),
            "mask": drawn,
            "accepted": prompt is not None and prompt.accepted,
        }


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `changes`, dictionaries within merged as well."""
    result = dict(base)
    for name, value in changes.items():
        inner = result.get(name)
        result[name] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
