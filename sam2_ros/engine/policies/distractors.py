# SPDX-License-Identifier: Apache-2.0
"""Policy `distractors`: recent memories further apart, and anchors from frames that show a look-alike.

Described as DAM4SAM (arXiv 2411.17576): recents every few frames plus the previous one; a frame on which another
candidate mask covers something outside of the chosen one becomes a conditioning memory. Does not know the bank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sam2_ros.engine.postprocess import connected_regions, tight_box

from .policy import EMPTY_SLOT, Policy, Seen, State, box_iou

EVERY = 5  # frames between recent memories, and least between two anchors
GOOD_SCORE = 0.8  # predicted IoU of an anchor
AREA_CHANGE = 0.2  # most, from the median of the last areas
AREAS = 10
CUE_IOU = 0.7  # of the boxes without and with the other candidate's part: at most this shows a look-alike


class Distractors(Policy):
    """Keeps the areas of the last `AREAS` frames that show the object, in cells."""

    name = "distractors"
    reach = 30

    def admit(self, state: State, seen: Seen) -> bool:
        return seen.visible

    def promote(self, state: State, seen: Seen) -> bool | None:
        if not seen.visible:
            return None
        areas = list(state)
        state[:] = [*areas, float(seen.area)][-AREAS:]
        if seen.decoded is None or len(areas) < EVERY or seen.score <= GOOD_SCORE:
            return None
        median = float(np.median(areas))
        if abs(seen.area - median) > AREA_CHANGE * median:
            return None
        if seen.anchors and seen.frame - seen.anchors[-1] <= EVERY:
            return None
        return True if shows_distractor(seen.mask, seen.candidates) else None

    def evict(self, state: State, frames: Sequence[int]) -> int | None:
        newest = sorted(frames)[-2:]
        if len(newest) < 2 or newest[1] - newest[0] >= EVERY:
            return EMPTY_SLOT
        return newest[1]


def shows_distractor(mask_hw: np.ndarray, candidates_4hw: np.ndarray) -> bool:
    """True if the largest part of a candidate outside of the mask would change the mask's box much."""
    box = tight_box(mask_hw)
    for candidate in candidates_4hw:
        regions, areas = connected_regions(candidate & ~mask_hw)
        if not len(areas):
            continue
        part = tight_box(regions == 1 + int(areas.argmax()))
        union = (min(box[0], part[0]), min(box[1], part[1]), max(box[2], part[2]), max(box[3], part[3]))
        if box_iou(box, union) <= CUE_IOU:
            return True
    return False
