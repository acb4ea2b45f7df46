# SPDX-License-Identifier: Apache-2.0
"""Keeps the objects of the node in its state file: saves them periodically and at the end, loads them at the start.

Knows the tracker, the object registry and paths; no ROS. The tracking thread waits only while memories are copied: a
thread of its own writes them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_ros.engine import PromptError, Tracker
from sam2_ros.engine.stored_object import recall_objects
from sam2_ros.errors import UserError, one_line
from sam2_ros.node.diagnostics import OK, WARN, StatusLine
from sam2_ros.node.object_registry import ObjectRegistry
from sam2_ros.state.identity import ModelIdentity
from sam2_ros.state.saved_state import SavedState
from sam2_ros.state.state_file import read_state, write_state

from .turns import Turns

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

POLL_S = 0.1  # how soon a new or removed object is in the file
PATIENCE_S = 20.0  # for the image in progress
END_PATIENCE_S = 1.0  # the same, when the node stops


@dataclass(frozen=True)
class StateOptions:
    """The parameters state_file and state_period; an empty path: nothing is saved by itself."""

    path: str
    period_s: float

    @property
    def file(self) -> Path | None:
        """The state file."""
        return Path(self.path).expanduser() if self.path else None


class StateKeeper:
    """The objects of one tracker in a file. Lives from configure to cleanup; `close` ends its thread.

    Args:
        options: returns the options in effect.

    Attributes:
        turns: whoever uses the tracker takes a turn.
    """

    def __init__(
        self,
        tracker: Tracker,
        objects: ObjectRegistry,
        options: Callable[[], StateOptions],
        log: RcutilsLogger,
    ) -> None:
        self.turns = Turns()
        self.tracker = tracker
        self._objects = objects
        self._options = options
        self._log = log
        self._identity: ModelIdentity | None = None
        self._opened = self._closed = False
        self._stopping = threading.Event()
        self._writing = threading.Lock()
        self._saved: tuple[object, ...] = ()  # what the file holds, see `_content`
        self._saved_s = time.monotonic()
        self._problem = ""
        self._values = {"saved": "0"}
        self._thread = threading.Thread(target=self._run, name="sam2-state", daemon=True)

    @property
    def identity(self) -> ModelIdentity:
        """Of the model; reads all weights the first time."""
        if self._identity is None:
            self._identity = ModelIdentity.of(self.tracker.model)
        return self._identity

    def open(self) -> None:
        """At the first activation: load the state file, and save from now on. Never raises for a bad file."""
        path = self._options().file
        if self._opened or path is None:
            return
        self._opened = True
        if path.exists():
            try:
                ids = self.load(path, merge=True)
                self._log.info(f"state file {path}: {len(ids)} objects are looked for: {', '.join(ids)}")
            except (UserError, OSError) as error:
                self._set_aside(path, one_line(error))
        self._saved = self._content()
        self._thread.start()

    def save(
        self, path: Path | None = None, ids: Collection[str] = (), patience_s: float = PATIENCE_S
    ) -> list[str]:
        """Write objects to a file; returns their ids. No path: the state file; no ids: all.

        Raises:
            UserError: nothing was written, with the reason.
        """
        path = self._path(path)
        with self._writing:  # two writers of one file would take turns with its temporary file
            with self.turns.request(patience_s) as mine:
                self._check(mine)
                if unknown := [id for id in ids if not self._objects.is_tracked(id)]:
                    raise PromptError(f"no tracked object '{unknown[0]}': expected ids on ~/objects")
                content, state = self._content(), self._copy(ids)
            begun_s = time.monotonic()
            size = write_state(path, state)
        if path == self._options().file and not ids:
            self._saved, self._saved_s = content, time.monotonic()
            self._values = {
                "saved": str(int(self._values["saved"]) + 1),
                "objects": str(len(state.objects)),
                "bytes": str(size),
                "write_ms": f"{(time.monotonic() - begun_s) * 1e3:.1f}",
            }
        return state.ids

    def load(self, path: Path | None = None, ids: Collection[str] = (), merge: bool = True) -> list[str]:
        """Look for the objects of a file from now on; returns their ids. No path: the state file; no ids: all.

        Args:
            merge: False: objects that are not in the file are removed.

        Raises:
            UserError: nothing has changed, with the reason.
        """
        path = self._path(path)
        state = read_state(path)
        try:
            return self.recall(state.only(ids) if ids else state, merge)
        except PromptError:
            raise
        except UserError as error:
            raise UserError(f"state file {path}: {error}") from None

    def recall(self, state: SavedState, merge: bool = True) -> list[str]:
        """As `load`, of a state in memory."""
        state.check_fits(self.tracker, self.identity)
        with self.turns.request(PATIENCE_S) as mine:
            self._check(mine)
            self._objects.recall(state, merge)
            for id in self.tracker.object_ids:
                if not self._objects.is_tracked(id):
                    self.tracker.remove(id)
            if not self.tracker.object_ids:
                self.tracker.frame_index = max(self.tracker.frame_index, state.frame_index)
            recall_objects(self.tracker, state.objects, seek=True)
        return state.ids

    @property
    def next_label(self) -> int:
        """The next label that this node gives."""
        return self._objects.numbering().next_label

    def new_name(self) -> str:
        """A name that this node has not given before."""
        return self._objects.new_name()

    def check_room(self, state: SavedState) -> None:
        """Raise PromptError if the objects of a state do not find room beside those that are there."""
        self._objects.check_room_for(state, merge=True)

    def save_at_end(self) -> None:
        """Before the node stops: save what has changed. Never raises."""
        if self._opened and not self._closed:
            self._autosave(self._content() != self._saved, END_PATIENCE_S)

    def close(self) -> None:
        """Save, and end the thread; requests are refused from now on. Objects that end later stay in the file."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(END_PATIENCE_S)
        self.save_at_end()
        with self.turns.request(END_PATIENCE_S):
            self._closed = True

    def line(self) -> StatusLine | None:
        """The status "state"; None without a state file."""
        path = self._options().file
        if path is None:
            return None
        age_s = time.monotonic() - self._saved_s
        values = {"path": str(path), "age_s": f"{age_s:.1f}", **self._values}
        if self._problem:
            return StatusLine("state", WARN, self._problem, values)
        return StatusLine("state", OK, "objects are kept in the state file", values)

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            content = self._content()
            new_objects = content[:2] != self._saved[:2]
            due = time.monotonic() - self._saved_s > self._options().period_s
            # Without objects, only their end is worth a file.
            self._autosave(new_objects or (due and content != self._saved and bool(content[0])))

    def _autosave(self, due: bool, patience_s: float = PATIENCE_S) -> None:
        if not due:
            return
        try:
            self.save(patience_s=patience_s)
            if self._problem:
                self._log.info(f"state file {self._options().file}: saved again")
            self._problem = ""
        except Exception as error:  # a full disk, a folder that is gone: the node goes on
            self._saved_s = time.monotonic()
            self._saved = (*self._content()[:2], None)  # tried again after state_period
            if (problem := one_line(error)) != self._problem:
                self._log.error(f"objects are not saved: {problem}")
            self._problem = problem

    def _content(self) -> tuple[object, ...]:
        """Equal while a file need not be written again: the objects, their numbering, and the images tracked."""
        numbering = self._objects.numbering()
        return tuple(numbering.labels.items()), numbering.next_label, self.tracker.frame_index

    def _copy(self, ids: Collection[str]) -> SavedState:
        """The objects as the node knows them: its labels count, not the tracker's."""
        numbering = self._objects.numbering()
        chosen = [id for id in numbering.labels if not ids or id in ids]
        state = SavedState.of(self.tracker, self.identity, chosen)
        objects = tuple(replace(each, label=numbering.labels[each.id]) for each in state.objects)
        return replace(state, objects=objects, next_label=numbering.next_label, names=numbering.names)

    def _set_aside(self, path: Path, reason: str) -> None:
        """Keep a file that cannot be used, which the next save would replace."""
        kept = next(
            each
            for n in range(1, 1 << 30)
            if not (each := path.with_name(f"{path.name}.refused-{n}")).exists()
        )
        try:
            path.rename(kept)
            self._problem = f"not loaded: {reason}; it is kept as {kept.name}, and the node begins without it"
        except OSError as error:
            self._problem = f"not loaded: {reason}; it cannot be set aside ({error.strerror})"
        self._log.error(self._problem)

    def _path(self, path: Path | None) -> Path:
        if path is None and (path := self._options().file) is None:
            raise PromptError(
                "the request has no path, and the parameter state_file is empty: give one of them"
            )
        return path

    def _check(self, mine: bool) -> None:
        if self._closed:
            raise PromptError("the node was cleaned up: configure it first")
        if not mine:
            raise PromptError("the image in progress does not finish: try again")
