# SPDX-License-Identifier: Apache-2.0
"""The object registry: the only place that decides which objects exist, with their ids, labels and states.

Knows ids, labels and tracker results; no ROS, no images, and not where a prompt waits.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sam2_ros.engine import FrameResult, ObjectState, PromptError, TrackedObject
from sam2_ros.engine.result import MAX_LABEL
from sam2_ros.state.saved_state import SavedState

from .prompt_outcome import SERVICE, STATE_FILE, Outcome, PromptOutcome, Report, ignore

FORGOTTEN = "hidden for longer than forget_after"
DROPPED = "dropped: out of device memory"


@dataclass(eq=False)
class ObjectEntry:
    """One object, from its first accepted prompt until it is removed, forgotten, or all its prompts were rejected.

    A later object of the same id is a new entry, so that prompts still waiting for the earlier one cannot reach it.

    Attributes:
        label: pixel value in label images, given with the first result that shows the object; 0 until then.
        state: state in the newest result; None before the first.
        tracked: the tracker holds the object.
        announced: an image began after the object was requested, so the result of that image shows it (PENDING until
            it is tracked).
        open_prompts: number of accepted prompts that are neither applied nor rejected yet.
        was_tracked: the tracker has held the object at some time.
        exists: False once the object has ended; never True again.
        end_reason: why it ended.
    """

    id: str
    class_id: str = ""
    label: int = 0
    state: ObjectState | None = None
    tracked: bool = False
    announced: bool = False
    open_prompts: int = 0
    was_tracked: bool = False
    exists: bool = True
    end_reason: str = ""


@dataclass(frozen=True)
class Numbering:
    """Labels by id, the next label, and the number of the last generated name."""

    labels: dict[str, int]
    next_label: int
    names: int


class ObjectRegistry:
    """Lives as long as the node, so that no label and no name is given twice. Thread-safe, never blocks.

    Attributes:
        max_objects: maximum number of objects at the same time, including those that wait for their image.
        resets: number of calls of `reset`.
        lock: while it is held, no object begins or ends. Inner to the lock of the prompt queue.

    Args:
        report: called, under the lock, with the end of each object and the outcome of each prompt; must not block.
    """

    def __init__(self, max_objects: int, report: Report = ignore) -> None:
        self.max_objects = max_objects
        self.report = report
        self.resets = 0
        self.lock = threading.Lock()
        self._entries: dict[str, ObjectEntry] = {}  # in order of their first prompts
        self._labels = 0  # last label given
        self._owners: dict[int, str] = {}  # label -> id of the object that got it in this node
        self._names = 0  # number of the last generated name

    @property
    def ids(self) -> list[str]:
        """Ids of the existing objects, in order of their first prompts."""
        with self.lock:
            return list(self._entries)

    def states(self) -> Counter[ObjectState]:
        """Number of objects in each state, without those that no result has shown yet."""
        with self.lock:
            return Counter(entry.state for entry in self._entries.values() if entry.state is not None)

    def is_tracked(self, object_id: str) -> bool:
        """True if the tracker must hold an object of this id; any other object it holds has ended."""
        with self.lock:
            return object_id in self._entries and self._entries[object_id].tracked

    def has_label(self, label: int) -> bool:
        """True if the object of this label still exists."""
        with self.lock:
            return any(entry.label == label for entry in self._entries.values())

    def entry(self, object_id: str) -> ObjectEntry | None:
        """The existing object of this id."""
        with self.lock:
            return self._entries.get(object_id)

    # Requests of users.

    def admit(self, name: str, named: bool, class_id: str = "") -> ObjectEntry:
        """Count an accepted prompt as open, and return its object, existing or new.

        Args:
            name: the object's id; for a prompt without one, its name in error messages.
            named: False: create an object with a name never given before, `object_1`, `object_2`, ...

        Raises:
            PromptError: there is no room for another object, or no label is left.
        """
        with self.lock:
            entry = self._entries.get(name) if named else None
            if entry is None:
                self._check_room(name)
                object_id = name if named else self._new_name()
                entry = self._entries[object_id] = ObjectEntry(object_id)
            entry.class_id = class_id or entry.class_id
            entry.open_prompts += 1
            return entry

    def remove(self, ids: Iterable[str] = ()) -> tuple[list[str], list[str]]:
        """Remove objects and their open prompts; no ids = all. Returns (unknown ids, ids left)."""
        with self.lock:
            asked = dict.fromkeys(ids) or dict.fromkeys(self._entries)
            unknown = [object_id for object_id in asked if object_id not in self._entries]
            self._end(
                [each for each in asked if each in self._entries], "removed by ~/remove_objects", SERVICE
            )
            return unknown, list(self._entries)

    def reset(self) -> int:
        """Remove all objects. Returns their number."""
        with self.lock:
            self.resets += 1
            return self._end(list(self._entries), "removed by ~/reset", SERVICE)

    # State files.

    def numbering(self) -> Numbering:
        """Labels of the objects that the tracker holds, and where numbering stands."""
        with self.lock:
            labels = {
                entry.id: entry.label for entry in self._entries.values() if entry.tracked and entry.label
            }
            return Numbering(labels, self._labels + 1, self._names)

    def recall(self, state: SavedState, merge: bool) -> None:
        """Add the objects of a state, which the tracker must hold from now on; numbering continues above theirs.

        An object keeps its label, unless this node has given that to another one.

        Args:
            merge: False: objects that are not in the state are removed.

        Raises:
            PromptError: there is no room for all of them, or no label is left; nothing has changed.
        """
        with self.lock:
            others = self._check_room_for(state, merge)
            if not merge:
                self._end(others, "replaced by ~/load_state", SERVICE)
            taken = self._labels
            for stored in state.objects:
                entry = self._entries.setdefault(stored.id, ObjectEntry(stored.id))
                if not entry.label and (stored.label > taken or self._owners.get(stored.label) == stored.id):
                    entry.label = stored.label
                    self._owners[stored.label] = stored.id
            self._labels = max(self._labels, state.next_label - 1)
            self._names = max(self._names, state.names)
            for stored in state.objects:
                entry = self._entries[stored.id]
                entry.label = entry.label or self._new_label(entry.id)
                entry.class_id = stored.class_id
                entry.tracked = entry.was_tracked = entry.announced = True
                entry.state = ObjectState.PENDING
                self.report(PromptOutcome(Outcome.APPLIED, entry.id, STATE_FILE, entry.class_id))

    def check_room_for(self, state: SavedState, merge: bool) -> None:
        """Raise PromptError where `recall` would."""
        with self.lock:
            self._check_room_for(state, merge)

    def new_name(self) -> str:
        """A name that was never given before, `object_1`, `object_2`, ..."""
        with self.lock:
            return self._new_name()

    # Results of the tracker.

    def announce(self) -> None:
        """An image begins: its result must show every object requested until now."""
        with self.lock:
            for entry in self._entries.values():
                entry.announced = True

    def confirm(self, result: FrameResult, prompted: Sequence[ObjectEntry]) -> None:
        """Update the objects from the tracker's result of one image, and complete the result.

        Its objects get the labels of this registry. Objects removed meanwhile are taken out of it; announced objects
        that are not tracked yet are added as PENDING.

        Args:
            prompted: the object of each prompt that was applied to the image.
        """
        found = {obj.id: obj for obj in result.objects}
        with self.lock:
            for entry in prompted:
                entry.open_prompts -= 1
                entry.tracked = entry.was_tracked = True
            result.objects = []
            for entry in list(self._entries.values()):
                entry.tracked = entry.tracked and entry.id in found
                if not entry.tracked and not entry.open_prompts:
                    forgotten = entry.id in result.forgotten
                    self._end_by_node(entry, FORGOTTEN if forgotten else DROPPED)
                elif entry.tracked or entry.announced:
                    entry.label = entry.label or self._new_label(entry.id)
                    if entry.tracked:
                        obj = found[entry.id]
                    else:  # requested, but not seen in an image yet
                        nothing = np.zeros((result.height_px, result.width_px), bool)
                        obj = TrackedObject(entry.id, entry.label, entry.class_id, nothing)
                    obj.label, entry.state = entry.label, obj.state
                    result.objects.append(obj)
            result.objects.sort(key=lambda obj: obj.label)

    def close(self, entry: ObjectEntry, tracked: bool = False) -> None:
        """Close a prompt that was not part of an image's result: rejected, or its object was adopted by the tracker."""
        with self.lock:
            entry.open_prompts -= 1
            entry.tracked = entry.tracked or tracked
            entry.was_tracked = entry.was_tracked or tracked
            if entry.exists and not entry.tracked and not entry.open_prompts:
                self._end_by_node(entry, DROPPED)

    def clear(self, reason: str = "the node was cleaned up") -> None:
        """Remove all objects because the tracker is gone; labels and names continue."""
        with self.lock:
            self._end(list(self._entries), reason)

    def _end_by_node(self, entry: ObjectEntry, reason: str) -> None:
        """End an object that the tracker does not hold. One that never was an object ends without a report."""
        if entry.was_tracked:
            self._end([entry.id], reason)
        else:
            entry.exists, entry.end_reason = False, "its prompts were rejected"
            del self._entries[entry.id]

    def _end(self, ids: Sequence[str], reason: str, source: str = "") -> int:
        for object_id in ids:
            entry = self._entries.pop(object_id)
            entry.exists, entry.end_reason = False, reason
            self.report(PromptOutcome(Outcome.REMOVED, entry.id, source, entry.class_id, reason=reason))
        return len(ids)

    def _check_room(self, name: str) -> None:
        if len(self._entries) >= self.max_objects:
            raise PromptError(
                f"prompt '{name}': {len(self._entries)} objects are tracked, as many as max_objects = "
                f"{self.max_objects} allows; remove one with ~/remove_objects or raise max_objects"
            )
        unlabelled = sum(not entry.label for entry in self._entries.values())
        if self._labels + unlabelled >= MAX_LABEL:
            raise PromptError(
                f"no label left for '{name}': all {MAX_LABEL} labels have been used; restart the node"
            )

    def _check_room_for(self, state: SavedState, merge: bool) -> list[str]:
        """Ids of the objects that are not in the state. Raises PromptError if there is no room for those that are."""
        others = [object_id for object_id in self._entries if object_id not in state.ids]
        count = len(state.ids) + (len(others) if merge else 0)
        if count > self.max_objects:
            raise PromptError(
                f"{count} objects with those of the file; expected at most max_objects = {self.max_objects}: name some "
                "ids, remove objects with ~/remove_objects, or raise max_objects"
            )
        if max(self._labels, state.next_label - 1) + len(state.ids) > MAX_LABEL:
            raise PromptError(f"no labels left for the file: most of {MAX_LABEL} were used; restart the node")
        return others

    def _new_label(self, object_id: str) -> int:
        self._labels += 1
        self._owners[self._labels] = object_id
        return self._labels

    def _new_name(self) -> str:
        while True:
            self._names += 1
            if (name := f"object_{self._names}") not in self._entries:
                return name
