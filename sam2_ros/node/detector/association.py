# SPDX-License-Identifier: Apache-2.0
"""Associates a detector's boxes with objects: which hidden objects to prompt again, and which objects are new.

Knows boxes, masks, classes, states and stamps; does not know messages, ids of new objects, or how prompts are applied.
Every detection is counted once: matched (it shows an object that is visible or about to be), reseeded, created or
ignored.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sam2_ros.engine import ObjectState

from .candidates import Candidate, Candidates, same_place
from .detections import BoxPrompt, Detection, KnownObject, class_relation, usable_detections, with_usable_box
from .overlap import (
    Box,
    Overlap,
    as_boxes,
    assign,
    box_iou,
    box_ious,
    distances,
    measure_overlap,
    similar_sizes,
    sizes,
)

MODES = ("reseed", "track_all")
VISIBLE = (ObjectState.PENDING, ObjectState.TRACKING)
COOL_DOWN_S = 1.0  # time after which a prompt without effect is given up
MAX_SENT = 512  # open prompts; a second limit, because stamps need not advance with time
FRESH_S = 0.05  # a position this recent is exact

# Minimum affinity at which a detection can be assigned to an object, by the relation of their classes.
MATCH_SAME_CLASS, MATCH_UNKNOWN, MATCH_OTHER_CLASS = 0.2, 0.3, 0.7
SAME_CLASS_BONUS = 0.1  # added to the gain, for two objects that compete for one detection

# An unassigned detection above one of these shows an existing object as well, and starts no prompt.
CLAIM_AFFINITY, CLAIM_IOU = 0.5, 0.8
CLAIM_FILLED = 0.5  # share of the box filled by an object of its class: the box shows a part of it
CLAIM_COVERED = 0.8  # share of an object of its class inside the box: the box shows more than was segmented
FLIP_AFFINITY = 0.3  # with an object that had a detection in the last FLIP_MEMORY_S, but has none now
FLIP_MEMORY_S = 2.0

# How far a hidden object may have moved, in multiples of its size, or how much a box must overlap its last box.
REACH_SIZES, REACH_SIZES_PER_S, REACH_SIZES_AT_MOST = 0.5, 1.0, 3.0
REACH_IOU = 0.2


@dataclass(eq=False)
class _OpenPrompt:
    """A prompt that was returned but has no effect yet; `box` follows the detections of its object."""

    prompt: BoxPrompt
    sent_s: float
    box: Box
    stamp_s: float

    def is_answered_by(self, known: KnownObject) -> bool:
        """True if `known` is the prompted object and is tracked; a prompt without an id is compared by box."""
        if known.state != ObjectState.TRACKING:
            return False
        return (
            known.id == self.prompt.id if self.prompt.id else box_iou(self.box, known.box) >= CLAIM_AFFINITY
        )

    def is_pending_as(self, known: KnownObject) -> bool:
        if known.state != ObjectState.PENDING:
            return False
        return known.id == self.prompt.id if self.prompt.id else box_iou(self.prompt.box, known.box) > 0.95


@dataclass(frozen=True)
class _PresentObject:
    """An object in the image that needs no prompt: it is visible, or its prompt is open.

    `stamp_s` is the time when it was at `box`.
    """

    id: str
    class_id: str
    box: Box
    stamp_s: float
    mask: np.ndarray | None = None
    sent: _OpenPrompt | None = None


class Associator:
    """Associates one message of detections after the other. Its state: candidates, open prompts, last detection times.

    A prompt needs a candidate that is in 2 of 3 messages. Messages with equal stamps count as one, so `stamp_s`
    has to advance with the images. `min_score` and `max_objects` may be changed between two messages.

    `counts` has the numbers of matched, reseeded, created and ignored detections; their sum is the number of all
    detections.
    """

    def __init__(self, mode: str, min_score: float, max_objects: int) -> None:
        if mode not in MODES:
            raise ValueError(f"detection mode '{mode}'; expected one of {', '.join(MODES)}")
        self.mode = mode
        self.min_score = min_score
        self.max_objects = max_objects
        self.counts: Counter[str] = Counter(matched=0, reseeded=0, created=0, ignored=0)
        self.reset()

    def reset(self) -> None:
        """Forget everything but the counts, after a change of the camera, a jump back in time, or ~/reset."""
        self._candidates = Candidates()
        self._sent: list[_OpenPrompt] = []
        self._named_s: dict[str, float] = {}  # object id -> stamp of the last detection assigned to it

    def take(
        self, detections: Sequence[Detection], known: Sequence[KnownObject], stamp_s: float
    ) -> list[BoxPrompt]:
        """Process one message. Returns the prompts: hidden objects first, then new objects by descending score."""
        found = usable_detections(detections, self.min_score)
        known = sorted((with_usable_box(each) for each in known), key=lambda each: each.id)
        present = self._present(known, stamp_s)
        unplaced = [each for each in known if each.state in VISIBLE and each.box is None]
        free, may_be_new, matched = self._match(found, present, unplaced, stamp_s)
        candidates = self._candidates.follow(as_boxes(free), [each.class_id for each in free], stamp_s)

        on_their_way = {sent.prompt.id for sent in self._sent}
        hidden = [each for each in known if each.state not in VISIBLE and each.id not in on_their_way]
        returned, wanted = self._find_hidden(free, candidates, hidden, stamp_s)
        room = self.max_objects - len(known) if self.mode == "track_all" else 0
        created = self._create(
            free, candidates, may_be_new & ~wanted, [prompt for _, prompt in returned], room
        )

        for row, prompt in (*returned, *created):
            self._candidates.drop(candidates[row])
            self._sent.append(_OpenPrompt(prompt, stamp_s, prompt.box, stamp_s))
        del self._sent[:-MAX_SENT]
        ignored = len(detections) - matched - len(returned) - len(created)
        self.counts.update(matched=matched, reseeded=len(returned), created=len(created), ignored=ignored)
        return [prompt for _, prompt in (*returned, *created)]

    def _present(self, known: list[KnownObject], stamp_s: float) -> list[_PresentObject]:
        """The objects that are in the image already. Closes prompts that have taken effect or are given up."""
        ids = {each.id for each in known}
        self._named_s = {key: named_s for key, named_s in self._named_s.items() if key in ids}
        for sent, each in itertools.product(self._sent, known):
            if sent.is_answered_by(each):
                self._named_s[each.id] = sent.stamp_s
        self._sent = [sent for sent in self._sent if _still_awaited(sent, known, stamp_s)]
        visible = [
            _PresentObject(
                each.id,
                each.class_id,
                each.box,
                stamp_s if each.last_visible_s is None else each.last_visible_s,
                each.mask,
            )
            for each in known
            if each.state in VISIBLE
            and each.box is not None
            and not any(sent.is_pending_as(each) for sent in self._sent)
        ]
        return visible + [
            _PresentObject(sent.prompt.id, sent.prompt.class_id, sent.box, sent.stamp_s, sent=sent)
            for sent in self._sent
        ]

    def _match(
        self,
        found: list[Detection],
        present: list[_PresentObject],
        unplaced: list[KnownObject],
        stamp_s: float,
    ) -> tuple[list[Detection], np.ndarray, int]:
        """Assign at most one detection to each present object.

        Returns the detections that show no present object, ``[N]`` bool which of those may be a new object, and the
        number of assigned detections.
        """
        boxes, places = as_boxes(found), as_boxes(present)
        overlap = measure_overlap(boxes, places, [each.mask for each in present])
        relation = class_relation(found, present)
        gates = np.array((MATCH_OTHER_CLASS, MATCH_UNKNOWN, MATCH_SAME_CLASS))
        # An object's box is as old as the image it was found in; the object may have moved since.
        age_m = np.array([abs(stamp_s - each.stamp_s) for each in present])
        moved = same_place(boxes, places, age_m) & (relation >= 0) & (age_m > FRESH_S)
        pairs = assign(
            overlap.affinity + SAME_CLASS_BONUS * (relation > 0) + 0.01,
            (overlap.affinity >= gates[relation + 1]) | moved,
        )
        own_rows, own_columns = [row for row, _ in pairs], [column for _, column in pairs]
        for row, column in pairs:
            thing = present[column]
            self._named_s[thing.id] = stamp_s
            if thing.sent:
                thing.sent.box, thing.sent.stamp_s = found[row].box, stamp_s

        missing = np.ones(len(present), bool)
        missing[own_columns] = False
        unsettled = missing | np.array([each.mask is None for each in present], bool)
        shown: np.ndarray = np.any(_claims(overlap, relation > 0, unsettled), axis=1)
        # It may be an object that was prompted without a box.
        shown |= np.any(class_relation(found, unplaced) >= 0, axis=1)
        shown[own_rows] = True
        named = [
            each.sent is not None or stamp_s - self._named_s.get(each.id, -math.inf) <= FLIP_MEMORY_S
            for each in present
        ]
        flipped = (overlap.affinity >= FLIP_AFFINITY) & missing & np.array(named, bool)
        free = np.flatnonzero(~shown)
        return [found[row] for row in free], ~flipped[free].any(axis=1), len(pairs)

    def _find_hidden(
        self, free: list[Detection], candidates: list[Candidate], hidden: list[KnownObject], stamp_s: float
    ) -> tuple[list[tuple[int, BoxPrompt]], np.ndarray]:
        """Assign to each hidden object the detection that fits its return best.

        Returns (row, prompt) of those that were detected often enough, and ``[N]`` bool: detections that are, or may
        still turn out to be, a hidden object.
        """
        boxes, relation = as_boxes(free), class_relation(free, hidden)
        gain = np.zeros(relation.shape)
        for column, lost in enumerate(hidden):
            gain[:, column] = _return_gain(boxes, relation[:, column], candidates, lost, stamp_s)
        prompts: list[tuple[int, BoxPrompt]] = []
        waits = np.ones(len(hidden), bool)
        for row, column in sorted(assign(gain, gain > 0), key=lambda pair: -gain[pair]):
            detection, lost = free[row], hidden[column]
            if candidates[row].is_confirmed and not _clashes(detection, [prompt for _, prompt in prompts]):
                class_id = lost.class_id or detection.class_id
                prompts.append((row, BoxPrompt(lost.id, detection.box, class_id, detection.score)))
                waits[column] = False
        wanted: np.ndarray = np.any((gain > 0) & waits, axis=1)
        wanted[[row for row, _ in prompts]] = True
        return prompts, wanted

    def _create(
        self,
        free: list[Detection],
        candidates: list[Candidate],
        may_be_new: np.ndarray,
        returned: list[BoxPrompt],
        room: int,
    ) -> list[tuple[int, BoxPrompt]]:
        """(row, prompt) of up to `room` new objects; `free` is sorted by descending score."""
        created: list[tuple[int, BoxPrompt]] = []
        for row, detection in enumerate(free):
            if len(created) >= room:
                break
            chosen = [*returned, *(prompt for _, prompt in created)]
            if may_be_new[row] and candidates[row].is_confirmed and not _clashes(detection, chosen):
                created.append((row, BoxPrompt("", detection.box, detection.class_id, detection.score)))
        return created


def _still_awaited(sent: _OpenPrompt, known: list[KnownObject], stamp_s: float) -> bool:
    if sent.prompt.id and all(each.id != sent.prompt.id for each in known):
        return False
    if any(sent.is_answered_by(each) for each in known):
        return False
    recent = abs(stamp_s - sent.sent_s) < COOL_DOWN_S
    return recent or any(sent.is_pending_as(each) for each in known)


def _claims(overlap: Overlap, same_class: np.ndarray, unsettled: np.ndarray) -> np.ndarray:
    """``[N, M]`` bool: detection n shows object m, although it was not assigned to it.

    unsettled: ``[M]`` bool, objects without a mask, or without an assigned detection in this message: a larger box of
    their class may show them.
    """
    claims = (overlap.affinity >= CLAIM_AFFINITY) | (overlap.iou >= CLAIM_IOU)
    claims |= same_class & (overlap.filled >= CLAIM_FILLED)
    return claims | (same_class & unsettled & (overlap.covered >= CLAIM_COVERED))


def _clashes(detection: Detection, chosen: list[BoxPrompt]) -> bool:
    """True if the detection shows an object that is prompted with the same message."""
    overlap = measure_overlap(as_boxes([detection]), as_boxes(chosen), [None] * len(chosen))
    return bool(_claims(overlap, class_relation([detection], chosen) > 0, np.ones(len(chosen), bool)).any())


def _return_gain(
    boxes_n4: np.ndarray,
    relation_n: np.ndarray,
    candidates: list[Candidate],
    lost: KnownObject,
    stamp_s: float,
) -> np.ndarray:
    """``[N]`` how well each detection fits the return of `lost`; 0 = impossible.

    A detection of the same class may be anywhere; if a class is missing, it has to be within reach.
    """
    if lost.box is None:
        return 0.01 * (relation_n > 0)
    box_14 = np.array([lost.box], np.float64)
    overlaps_n = box_ious(boxes_n4, box_14)[:, 0] >= REACH_IOU
    hidden_s = math.inf if lost.last_visible_s is None else max(stamp_s - lost.last_visible_s, 0.0)
    reach_sizes = min(REACH_SIZES + REACH_SIZES_PER_S * hidden_s, REACH_SIZES_AT_MOST)
    away_n = distances(boxes_n4, box_14)[:, 0] / (reach_sizes * sizes(box_14)[0])
    reached_n = overlaps_n | ((away_n <= 1) & similar_sizes(boxes_n4, box_14)[:, 0])
    possible_n = (relation_n > 0) | ((relation_n == 0) & reached_n)
    # A candidate that was already elsewhere while the object was still visible is another object.
    until_s = -math.inf if lost.last_visible_s is None else lost.last_visible_s
    beside_n = np.array([each.confirmed_s is not None and each.confirmed_s <= until_s for each in candidates])
    possible_n &= overlaps_n | ~beside_n.astype(bool)
    return possible_n * (1 / (1 + away_n) + SAME_CLASS_BONUS * (relation_n > 0))
