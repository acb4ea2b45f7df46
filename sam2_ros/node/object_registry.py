# SPDX-License-Identifier: Apache-2.0
"""The object registry: the one owner of which objects exist, their ids, labels and states.

Knows names, numbers and results of the tracker; nothing of ROS, of images, or of where a prompt waits.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sam2_ros.engine import FrameResult, ObjectState, PromptError, TrackedObject
from sam2_ros.engine.result import MAX_LABEL


@dataclass(eq=False)
class ObjectEntry:
    """One object, from its first accepted prompt until it is removed, forgotten, or all its prompts were rejected.

    A later object of the same id is another entry, so that nothing on its way for the earlier one can reach it.

    Attributes:
        label: its value in label images, given with the first result that shows it; 0 until then.
        state: in the newest result; None before the first.
        tracked: the tracker has been prompted for it.
        announced: an image began after it was asked for: its result shows the object, PENDING while not tracked.
        open_prompts: accepted ones that are neither applied nor rejected yet.
        exists: False for ever once it is over.
    """

    id: str
    class_id: str = ""
    label: int = 0
    state: ObjectState | None = None
    tracked: bool = False
    announced: bool = False
    open_prompts: int = 0
    exists: bool = True


class ObjectRegistry:
    """Lives as long as the node, so that no label and no name is given twice. Thread-safe; returns at once.

    Attributes:
        max_objects: that may exist at the same time, those that wait for their image included.
        resets: how often a user had everything forgotten.
    """

    def __init__(self, max_objects: int) -> None:
        self.max_objects = max_objects
        self.resets = 0
        self._lock = threading.Lock()
        self._entries: dict[str, ObjectEntry] = {}  # in the order in which they were asked for
        self._labels = 0  # given so far
        self._names = 0  # likewise

    @property
    def ids(self) -> list[str]:
        """Of the objects that exist or are asked for, in the order in which they were."""
        with self._lock:
            return list(self._entries)

    def states(self) -> Counter[ObjectState]:
        """How many objects are in which state; one that no result has shown yet is not counted."""
        with self._lock:
            return Counter(entry.state for entry in self._entries.values() if entry.state is not None)

    def is_tracked(self, object_id: str) -> bool:
        """Whether the tracker is to hold an object of this id: what it holds besides is over."""
        with self._lock:
            return object_id in self._entries and self._entries[object_id].tracked

    def has_label(self, label: int) -> bool:
        """Whether the object of this label still exists."""
        with self._lock:
            return any(entry.label == label for entry in self._entries.values())

    # What users ask for.

    def admit(self, name: str, named: bool, class_id: str = "") -> ObjectEntry:
        """The object of an accepted prompt, which is open from now on.

        Args:
            name: the id; of a prompt without one, what messages call it.
            named: False: the object gets a name that was never given before, `object_1`, `object_2`, ...

        Raises:
            PromptError: no room for another object, or no label is left.
        """
        with self._lock:
            entry = self._entries.get(name) if named else None
            if entry is None:
                self._check_room(name)
                object_id = name if named else self._new_name()
                entry = self._entries[object_id] = ObjectEntry(object_id)
            entry.class_id = class_id or entry.class_id
            entry.open_prompts += 1
            return entry

    def remove(self, ids: Iterable[str] = ()) -> tuple[list[str], list[str]]:
        """End objects and whatever is on its way for them; no ids = all. Returns (unknown ids, ids left)."""
        with self._lock:
            asked = dict.fromkeys(ids) or dict.fromkeys(self._entries)
            unknown = [object_id for object_id in asked if object_id not in self._entries]
            self._end([object_id for object_id in asked if object_id in self._entries])
            return unknown, list(self._entries)

    def reset(self) -> int:
        """End every object; returns how many there were."""
        with self._lock:
            self.resets += 1
            return self._end(list(self._entries))

    # What became of it.

    def announce(self) -> None:
        """An image begins: its result is to show every object that is asked for by now."""
        with self._lock:
            for entry in self._entries.values():
                entry.announced = True

    def confirm(self, result: FrameResult, prompted: Sequence[ObjectEntry]) -> None:
        """Learn from the tracker's result of one image which objects live, and complete it.

        Objects of the result get the labels of this registry; what was ended meanwhile is taken out; what is announced
        and not tracked yet is added as PENDING.

        Args:
            prompted: of each prompt that was applied to the image, its object.
        """
        found = {obj.id: obj for obj in result.objects}
        with self._lock:
            for entry in prompted:
                entry.open_prompts -= 1
                entry.tracked = True
            result.objects = []
            for entry in list(self._entries.values()):
                entry.tracked = entry.tracked and entry.id in found
                if not entry.tracked and not entry.open_prompts:
                    self._end([entry.id])
                elif entry.tracked or entry.announced:
                    entry.label = entry.label or self._new_label()
                    if entry.tracked:
                        obj = found[entry.id]
                    else:  # asked for, and shown by no image yet
                        nothing = np.zeros((result.height_px, result.width_px), bool)
                        obj = TrackedObject(entry.id, entry.label, entry.class_id, nothing)
                    obj.label, entry.state = entry.label, obj.state
                    result.objects.append(obj)
            result.objects.sort(key=lambda obj: obj.label)

    def close(self, entry: ObjectEntry, tracked: bool = False) -> None:
        """A prompt ended outside of an image's turn: rejected, or its object was handed to the tracker."""
        with self._lock:
            entry.open_prompts -= 1
            entry.tracked = entry.tracked or tracked
            if entry.exists and not entry.tracked and not entry.open_prompts:
                self._end([entry.id])

    def clear(self) -> None:
        """The tracker is gone, and every object with it; labels and names go on."""
        with self._lock:
            self._end(list(self._entries))

    def _end(self, ids: Sequence[str]) -> int:
        for object_id in ids:
            self._entries.pop(object_id).exists = False
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
                f"no label left for '{name}': all {MAX_LABEL} have been used; restart to begin anew"
            )

    def _new_label(self) -> int:
        self._labels += 1
        return self._labels

    def _new_name(self) -> str:
        while True:
            self._names += 1
            if (name := f"object_{self._names}") not in self._entries:
                return name
