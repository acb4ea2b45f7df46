# SPDX-License-Identifier: Apache-2.0
"""Associates a detector's boxes with objects: hidden ones to prompt again, and new ones.

Knows boxes, masks, classes, states and stamps; does not know messages, how ids are given, or how a prompt is
carried out. Every detection ends as one of four: matched (it shows an object that is visible or about to be),
reseeded, created, ignored.
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
COOL_DOWN_S = 1.0  # how long a prompt may take to show
MAX_SENT = 512  # prompts on their way; stamps need not advance with time, so COOL_DOWN_S alone is no bound
FRESH_S = 0.05  # a place this recent is exact

# A detection may be an object's own from this affinity on, by what the two classes say about each other.
MATCH_SAME_CLASS, MATCH_UNKNOWN, MATCH_OTHER_CLASS = 0.2, 0.3, 0.7
SAME_CLASS_BONUS = 0.1  # for the assignment, where two objects want one detection

# A detection that is no object's own shows an object all the same, and is not prompted for, from here on.
CLAIM_AFFINITY, CLAIM_IOU = 0.5, 0.8
CLAIM_FILLED = 0.5  # of the box, by an object of its class: a part of it
CLAIM_COVERED = 0.8  # of an object of its class, in the box: more of it than was segmented
FLIP_AFFINITY = 0.3  # with an object that the detector named in the last FLIP_MEMORY_S, but not now
FLIP_MEMORY_S = 2.0

# How far a hidden object may have gone, in its own sizes, or how much its last box has to overlap.
REACH_SIZES, REACH_SIZES_PER_S, REACH_SIZES_AT_MOST = 0.5, 1.0, 3.0
REACH_IOU = 0.2


@dataclass(eq=False)
class _OpenPrompt:
    """A prompt that was handed out and does not show yet; `box` follows the thing from message to message."""

    prompt: BoxPrompt
    sent_s: float
    box: Box
    stamp_s: float

    def is_answered_by(self, known: KnownObject) -> bool:
        """The object is tracked by now; one without a name is told by its place."""
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
    """A thing in the image that needs no prompt: a visible object, or one whose prompt is on its way.

    `stamp_s` is when it was at `box`.
    """

    id: str
    class_id: str
    box: Box
    stamp_s: float
    mask: np.ndarray | None = None
    sent: _OpenPrompt | None = None


class Associator:
    """Remembers what it needs from message to message: candidates, prompts on their way, who was named when.

    A prompt needs a candidate that is in 2 of 3 messages. Messages with equal stamps count as one, so `stamp_s`
    has to advance with the images. `min_score` and `max_objects` may be changed between two messages.

    `counts` has a number for each of matched, reseeded, created and ignored; their sum is the number of all
    detections ever given.
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
        """Forget what was seen: another camera, time that jumped back, or all objects removed.

        The counts stay.
        """
        self._candidates = Candidates()
        self._sent: list[_OpenPrompt] = []
        self._named_s: dict[str, float] = {}  # object id -> when it last had a detection of its own

    def take(
        self, detections: Sequence[Detection], known: Sequence[KnownObject], stamp_s: float
    ) -> list[BoxPrompt]:
        """One message of detections; returns what to prompt, hidden objects first, then new objects by score."""
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
        """What is in the image already. Ends the prompts that show by now, or will not any more."""
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
        """Give each present thing its own detection.

        Returns the detections that show something else, ``[N]`` bool which of those may be a new object, and
        how many detections were given.
        """
        boxes, places = as_boxes(found), as_boxes(present)
        overlap = measure_overlap(boxes, places, [each.mask for each in present])
        relation = class_relation(found, present)
        gates = np.array((MATCH_OTHER_CLASS, MATCH_UNKNOWN, MATCH_SAME_CLASS))
        # The place of a thing is as old as the image that it was found in: it may have moved on since.
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
        # Perhaps what was asked for without a place.
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
        """Give each hidden object the detection that is nearest to where it went.

        Returns (row, prompt) of those that were seen often enough, and ``[N]`` bool: which detections are, or
        may still turn out to be, an object that is hidden.
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
        """(row, prompt) of new objects while there is room; `free` is in order of score."""
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
    """``[N, M]`` bool: detection n shows thing m, though it is not its own detection.

    unsettled: ``[M]`` bool, things that have no mask yet or no detection of their own in this message, so
    that a larger box of their class may be theirs.
    """
    claims = (overlap.affinity >= CLAIM_AFFINITY) | (overlap.iou >= CLAIM_IOU)
    claims |= same_class & (overlap.filled >= CLAIM_FILLED)
    return claims | (same_class & unsettled & (overlap.covered >= CLAIM_COVERED))


def _clashes(detection: Detection, chosen: list[BoxPrompt]) -> bool:
    """Whether it shows a thing that is prompted in the same message."""
    overlap = measure_overlap(as_boxes([detection]), as_boxes(chosen), [None] * len(chosen))
    return bool(_claims(overlap, class_relation([detection], chosen) > 0, np.ones(len(chosen), bool)).any())


def _return_gain(
    boxes_n4: np.ndarray,
    relation_n: np.ndarray,
    candidates: list[Candidate],
    lost: KnownObject,
    stamp_s: float,
) -> np.ndarray:
    """``[N]`` how well each detection fits the return of `lost`, 0 = it cannot be that.

    A detection of its class may be anywhere; where a class is missing it has to be within reach.
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
    # What was there, elsewhere, while the object was still visible is another thing.
    until_s = -math.inf if lost.last_visible_s is None else lost.last_visible_s
    beside_n = np.array([each.confirmed_s is not None and each.confirmed_s <= until_s for each in candidates])
    possible_n &= overlaps_n | ~beside_n.astype(bool)
    return possible_n * (1 / (1 + away_n) + SAME_CLASS_BONUS * (relation_n > 0))
