# SPDX-License-Identifier: Apache-2.0
"""The objects of a tracker: id, label, row in the memory bank, and state with hysteresis on the object score.

Knows scores and seconds. Does not know masks, memory or the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .result import MAX_LABEL, ObjectState
from .tracker_config import TrackerConfig


@dataclass
class Track:
    """One tracked object: its identity and its state."""

    id: str
    label: int  # in label images
    row: int  # in the memory bank
    class_id: str = ""
    state: ObjectState = ObjectState.PENDING
    last_visible_s: float = field(default=float("-inf"))
    above: int = 0  # consecutive frames with presence > present_on
    below: int = 0  # consecutive frames with presence < present_off
    policy_state: dict[str, list[float]] = field(default_factory=dict)  # numbers of each policy, by its name
    sought: bool = False  # recalled, and looked for without limit of time until it is found, see `seeking`

    def seek(self) -> None:
        """Look for the object as if it had never been seen: PENDING until it is found or prompted."""
        self.state, self.last_visible_s, self.sought = ObjectState.PENDING, float("-inf"), True
        self.above = self.below = 0

    def continue_from(self, other: Track) -> None:
        """Copy the state of the same object in another tracker; id, label and row stay."""
        self.class_id = other.class_id or self.class_id
        self.state, self.last_visible_s = other.state, other.last_visible_s
        self.above, self.below, self.sought = other.above, other.below, other.sought
        self.policy_state = {name: list(numbers) for name, numbers in other.policy_state.items()}

    def update(
        self, presence: float, visible: bool, prompted: bool, stamp_s: float, config: TrackerConfig
    ) -> float:
        """Update the state with one frame's object score; returns the seconds since the object was last visible.

        A prompted object that is visible is TRACKING at once, without hysteresis.
        """
        self.above = self.above + 1 if presence > config.present_on else 0
        self.below = self.below + 1 if presence < config.present_off else 0
        if visible or self.last_visible_s > stamp_s or self.last_visible_s == float("-inf"):
            self.last_visible_s = stamp_s
        age_s = stamp_s - self.last_visible_s
        if self.above >= config.hysteresis_frames or (prompted and visible):
            self.state, self.sought = ObjectState.TRACKING, False
        elif self.below >= config.hysteresis_frames and self.state == ObjectState.TRACKING:
            self.state = ObjectState.OCCLUDED
        hidden = self.state in (ObjectState.OCCLUDED, ObjectState.PENDING) and not self.sought
        if hidden and age_s > config.lost_after_s:
            self.state = ObjectState.LOST
        return age_s

    def update_refined(self, visible: bool, stamp_s: float) -> float:
        """Update the state with a refined mask of the frame of the last `update`; returns the seconds since the object
        was last visible."""
        if visible:
            self.state, self.last_visible_s, self.sought = ObjectState.TRACKING, stamp_s, False
        return stamp_s - self.last_visible_s

    def is_expired(self, age_s: float, config: TrackerConfig) -> bool:
        """True if the object has been hidden for longer than `forget_after_s`; never while it is sought."""
        return not self.sought and config.forget_after_s > 0 and age_s > config.forget_after_s


class Tracks:
    """The objects of a tracker in the order of their creation. Assigns labels and rows of the memory bank."""

    def __init__(self, max_objects: int) -> None:
        self.max_objects = max_objects
        self.next_label = 1
        self._by_id: dict[str, Track] = {}

    def __iter__(self) -> Iterator[Track]:
        """Iterates over a copy: objects may be removed meanwhile."""
        return iter(list(self._by_id.values()))

    def __getitem__(self, id: str) -> Track:
        return self._by_id[id]

    @property
    def ids(self) -> list[str]:
        return list(self._by_id)

    @property
    def sought_rows(self) -> set[int]:
        """Rows of the objects that are looked for, see `Track.sought`."""
        return {track.row for track in self._by_id.values() if track.sought}

    def refusal(self, id: str) -> str:
        """Why an object of this id cannot be added; "" if it can, or exists already."""
        if id in self._by_id:
            return ""
        if len(self._by_id) >= self.max_objects:
            return f"no room for '{id}': max_objects = {self.max_objects} are tracked; remove one"
        if self.next_label > MAX_LABEL:
            return f"no label left for '{id}': all {MAX_LABEL} have been used; restart to begin anew"
        return ""

    def get_or_create(self, id: str) -> Track:
        """The object of this id; a new one gets a free row of the bank and the next label."""
        if id not in self._by_id:
            taken = {track.row for track in self._by_id.values()}
            row = next(row for row in range(self.max_objects) if row not in taken)
            self._by_id[id] = Track(id, self.next_label, row)
            self.next_label += 1
        return self._by_id[id]

    def recall(self, id: str, label: int) -> Track:
        """As `get_or_create`; a new object gets the label that it had before, unless that has been used here."""
        if id not in self._by_id and label >= self.next_label:
            self.next_label = label
        return self.get_or_create(id)

    def find(self, id: str) -> Track | None:
        return self._by_id.get(id)

    def remove(self, id: str) -> Track | None:
        """Remove an object and return it; None if there is none of this id. Its label is not used again."""
        return self._by_id.pop(id, None)
