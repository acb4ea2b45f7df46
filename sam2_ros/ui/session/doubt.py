# SPDX-License-Identifier: Apache-2.0
"""Frames on which a tracked mask may be wrong: presence near 0, low predicted IoU, area or position that jumps.

A pure function of the numbers of the masks. Does not know pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

LEAST_PRESENCE = 1.0  # object score logits from -1 to 1: present with 27 to 73 %
LEAST_IOU = 0.5
AREA_RATIO = 1.8  # from one frame to the next
SHIFT = 0.75  # of the object's size (root of its area), from one frame to the next
OFTEN = 4.0  # and so many times its usual shift


@dataclass(frozen=True)
class MaskNumbers:
    """The numbers of an object's mask on one frame, see `MaskRow`."""

    frame: int
    presence: float
    predicted_iou: float
    keyframe: bool
    area: int
    centroid_x: float
    centroid_y: float


@dataclass(frozen=True)
class Doubt:
    """A frame worth looking at, and why."""

    frame: int
    why: str


def doubtful_frames(masks: Sequence[MaskNumbers]) -> list[Doubt]:
    """The doubtful frames of one object, in order; of successive frames with one reason only the first.

    Args:
        masks: in the order of their frames; frames without a mask are left out.
    """
    usual = _usual_shift(masks)
    found: list[Doubt] = []
    before: MaskNumbers | None = None
    reason_before = ""
    for mask in masks:
        follows = before is not None and mask.frame == before.frame + 1
        reason = "" if mask.keyframe else _reason(mask, before if follows else None, usual)
        if reason and not (follows and reason == reason_before):
            found.append(Doubt(mask.frame, reason))
        before, reason_before = mask, reason
    return found


def _reason(mask: MaskNumbers, before: MaskNumbers | None, usual_shift: float) -> str:
    if abs(mask.presence) < LEAST_PRESENCE:
        return "presence near 0"
    if not mask.area:
        return ""
    if mask.predicted_iou < LEAST_IOU:
        return "low predicted IoU"
    if before is None or not before.area:
        return ""
    ratio = mask.area / before.area
    if not 1 / AREA_RATIO <= ratio <= AREA_RATIO:
        return "area jumps"
    shift = _shift(before, mask)
    if shift > SHIFT * math.sqrt(mask.area) and shift > OFTEN * usual_shift:
        return "position jumps"
    return ""


def _shift(before: MaskNumbers, mask: MaskNumbers) -> float:
    """Distance of the centroids, pixels."""
    return math.hypot(mask.centroid_x - before.centroid_x, mask.centroid_y - before.centroid_y)


def _usual_shift(masks: Sequence[MaskNumbers]) -> float:
    """Median distance of the centroids of successive visible masks, pixels."""
    shifts = sorted(
        _shift(one, other)
        for one, other in pairwise(masks)
        if other.frame == one.frame + 1 and one.area and other.area
    )
    return shifts[len(shifts) // 2] if shifts else 0.0
