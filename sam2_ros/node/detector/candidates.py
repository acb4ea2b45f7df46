# SPDX-License-Identifier: Apache-2.0
"""Candidate objects: follows detections that match no tracked object over several messages, to confirm them.

Knows boxes, class names and stamps; does not know tracked objects, scores, or what a confirmed candidate is used for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .overlap import Box, as_boxes, assign, box_ious, distances, similar_sizes, sizes

WINDOW = 3  # messages; a candidate is confirmed by CONFIRMATIONS of them
CONFIRMATIONS = 2
MEMORY_S = 2.0  # a confirmed candidate is recognised again after a gap up to this long
AT_MOST_S = 10.0  # candidates are dropped after a gap longer than this
MAX_CANDIDATES = 1000  # a second limit, because stamps need not advance with time

# The same place: at least this IoU, or centres closer than this many box sizes (more with time, up to a maximum).
PLACE_IOU = 0.3
PLACE_SIZES, PLACE_SIZES_PER_S, PLACE_SIZES_AT_MOST = 0.3, 1.0, 1.5


@dataclass(eq=False)
class Candidate:
    """One candidate object.

    Attributes:
        box, stamp_s: of its last detection.
        looks: numbers of those of the last WINDOW messages that contain it.
        confirmed_s: stamp of its first confirmation; None = not confirmed yet.
    """

    class_id: str
    box: Box
    stamp_s: float
    looks: list[int] = field(default_factory=list)
    confirmed_s: float | None = None

    def see(self, box: Box, stamp_s: float, look: int) -> None:
        self.box, self.stamp_s = box, stamp_s
        self.looks = [*(earlier for earlier in self.looks if look - WINDOW < earlier < look), look]
        if self.confirmed_s is None and self.is_confirmed:
            self.confirmed_s = stamp_s

    @property
    def is_confirmed(self) -> bool:
        """True if enough of the last WINDOW messages contain it. Valid for candidates in the current message."""
        return len(self.looks) >= CONFIRMATIONS

    def is_over(self, stamp_s: float, look: int) -> bool:
        age_s = abs(stamp_s - self.stamp_s)
        remembered = self.confirmed_s is not None and age_s <= MEMORY_S
        return age_s > AT_MOST_S or (look - self.looks[-1] >= WINDOW and not remembered)


class Candidates:
    """All candidates. Messages with equal stamps count as one, so detectors of different classes may share a topic."""

    def __init__(self) -> None:
        self._alive: list[Candidate] = []
        self._look = 0
        self._look_stamp_s = math.nan

    def follow(self, boxes_n4: np.ndarray, class_ids: Sequence[str], stamp_s: float) -> list[Candidate]:
        """The candidate of each box of one message, known from earlier messages or new."""
        if stamp_s != self._look_stamp_s:
            self._look, self._look_stamp_s = self._look + 1, stamp_s
        kept = [each for each in self._alive if not each.is_over(stamp_s, self._look)]
        kept_m4 = as_boxes(kept)
        elapsed_m = np.array([abs(stamp_s - each.stamp_s) for each in kept])
        same_class = np.array([[each.class_id == name for each in kept] for name in class_ids], bool)
        allowed = same_place(boxes_n4, kept_m4, elapsed_m) & same_class.reshape(len(class_ids), len(kept))
        gain = box_ious(boxes_n4, kept_m4) + 1 / (1 + distances(boxes_n4, kept_m4))
        earlier = {row: kept[column] for row, column in assign(gain, allowed)}

        seen = []
        for row, class_id in enumerate(class_ids):
            box: Box = tuple(boxes_n4[row].tolist())  # type: ignore[assignment]
            candidate = earlier.get(row) or Candidate(class_id, box, stamp_s)
            candidate.see(box, stamp_s, self._look)
            seen.append(candidate)
        alive = kept + [each for row, each in enumerate(seen) if row not in earlier]
        if len(alive) > MAX_CANDIDATES:
            alive = sorted(alive, key=lambda each: each.looks[-1])[-MAX_CANDIDATES:]
        self._alive = alive
        return seen

    def drop(self, candidate: Candidate) -> None:
        if candidate in self._alive:
            self._alive.remove(candidate)


def same_place(boxes_n4: np.ndarray, others_m4: np.ndarray, elapsed_m: np.ndarray) -> np.ndarray:
    """``[N, M]`` bool: an object that was at box m `elapsed_m` seconds ago may be at box n now."""
    reach_m = np.minimum(PLACE_SIZES + PLACE_SIZES_PER_S * elapsed_m, PLACE_SIZES_AT_MOST) * sizes(others_m4)
    close = (distances(boxes_n4, others_m4) <= reach_m) & similar_sizes(boxes_n4, others_m4)
    return (box_ious(boxes_n4, others_m4) >= PLACE_IOU) | close
