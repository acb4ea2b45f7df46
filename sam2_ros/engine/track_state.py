"""The life of one tracked object: its identity and its state, with hysteresis on the object score.

Knows scores and seconds; does not know masks, memory or the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .result import ObjectState


@dataclass(frozen=True)
class StateRules:
    """When an object counts as visible, hidden, lost and forgotten.

    Attributes:
        present_on: object score logit above which an object that was hidden is seen again.
        present_off: object score logit below which a visible object is hidden.
        hysteresis_frames: frames in a row that either needs.
        lost_after_s: seconds without being visible until LOST.
        forget_after_s: seconds without being visible until it is dropped; 0 = never.
    """

    present_on: float = 1.0
    present_off: float = 0.0
    hysteresis_frames: int = 2
    lost_after_s: float = 1.0
    forget_after_s: float = 30.0


@dataclass
class Track:
    """One object the tracker holds."""

    id: str
    label: int
    row: int  # in the memory bank
    class_id: str = ""
    state: ObjectState = ObjectState.PENDING
    last_visible_s: float = field(default=float("-inf"))
    above: int = 0  # frames in a row with presence > present_on
    below: int = 0  # frames in a row with presence < present_off
    awaited: bool = False  # announced; its first prompt is still to come

    def live_on(self, other: Track) -> None:
        """Take over the state of the same object in another tracker, not its identity here."""
        self.class_id = other.class_id or self.class_id
        self.state, self.last_visible_s = other.state, other.last_visible_s
        self.above, self.below, self.awaited = other.above, other.below, False

    def update(
        self, presence: float, visible: bool, prompted: bool, stamp_s: float, rules: StateRules
    ) -> float:
        """Take in one frame's object score; returns the seconds since the object was last visible.

        A prompt that the model can answer makes an object TRACKING at once.
        """
        self.above = self.above + 1 if presence > rules.present_on else 0
        self.below = self.below + 1 if presence < rules.present_off else 0
        if visible or self.last_visible_s > stamp_s or self.last_visible_s == float("-inf"):
            self.last_visible_s = stamp_s
        age_s = stamp_s - self.last_visible_s
        if self.above >= rules.hysteresis_frames or (prompted and visible):
            self.state = ObjectState.TRACKING
        elif self.below >= rules.hysteresis_frames and self.state == ObjectState.TRACKING:
            self.state = ObjectState.OCCLUDED
        if self.state in (ObjectState.OCCLUDED, ObjectState.PENDING) and age_s > rules.lost_after_s:
            self.state = ObjectState.LOST
        return age_s

    def answered_again(self, visible: bool, stamp_s: float) -> float:
        """Take in a better answer for the frame of the last `update`; returns the seconds since last visible."""
        if visible:
            self.state, self.last_visible_s = ObjectState.TRACKING, stamp_s
        return stamp_s - self.last_visible_s

    def is_over(self, age_s: float, rules: StateRules) -> bool:
        return rules.forget_after_s > 0 and age_s > rules.forget_after_s
