# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of the association: a detector's boxes, the objects that exist, and what is to be prompted.

Knows boxes, scores and class names; does not know messages, time, or which box shows which object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from sam2_ros.engine import ObjectState

from .overlap import Box, as_boxes, box_ious

LARGEST_EDGE_PX = 1e6  # no image is this wide: a coordinate beyond it is a detector's mistake

# Boxes of one message that are one thing, of which only the best counts.
DUPLICATE_IOU, DUPLICATE_IOU_OTHER_CLASS = 0.7, 0.85


@dataclass(frozen=True)
class Detection:
    """One box of a detector: pixels, maximum exclusive; score 0..1; class_id "" when it names none."""

    box: Box
    score: float
    class_id: str = ""


@dataclass(frozen=True)
class KnownObject:
    """An object that exists, as it was on the image of the detections or the nearest one that was tracked.

    Attributes:
        box: tight box when it was last visible, or the box it was asked for with while PENDING; None when
            neither is known.
        mask: ``[H, W]`` bool of that image, None when the object is hidden.
        last_visible_s: on the clock of the detections' stamps; None when it was never visible.
    """

    id: str
    class_id: str
    state: ObjectState
    box: Box | None
    mask: np.ndarray | None = None
    last_visible_s: float | None = None


@dataclass(frozen=True)
class BoxPrompt:
    """What to prompt with a box on the image of the detections: the hidden object `id`, or "" = a new one."""

    id: str
    box: Box
    class_id: str
    score: float


class _Classed(Protocol):
    @property
    def class_id(self) -> str: ...


def usable_detections(detections: Sequence[Detection], min_score: float) -> list[Detection]:
    """Those whose box and score mean something, each thing once, best score first, whatever the message's order."""
    usable = [each for each in detections if _has_area(each.box) and min_score <= each.score <= 1.0]
    return _without_duplicates(sorted(usable, key=lambda each: (-each.score, each.class_id, each.box)))


def with_usable_box(known: KnownObject) -> KnownObject:
    """A box without area says as little as none."""
    return known if known.box is None or _has_area(known.box) else replace(known, box=None)


def class_relation(a: Sequence[_Classed], b: Sequence[_Classed]) -> np.ndarray:
    """``[N, M]`` int: 1 = the same class, -1 = another class, 0 = one of them names none."""
    relation = [
        [int(x.class_id == y.class_id) * 2 - 1 if x.class_id and y.class_id else 0 for y in b] for x in a
    ]
    return np.array(relation, np.int64).reshape(len(a), len(b))


def _without_duplicates(detections: list[Detection]) -> list[Detection]:
    """Of boxes that show one thing only the first, which has the best score."""
    other_class = class_relation(detections, detections) < 0
    boxes = as_boxes(detections)
    duplicates = box_ious(boxes, boxes) >= np.where(other_class, DUPLICATE_IOU_OTHER_CLASS, DUPLICATE_IOU)
    kept: list[int] = []
    for row in range(len(detections)):
        if not duplicates[row, kept].any():
            kept.append(row)
    return [detections[row] for row in kept]


def _has_area(box: Box) -> bool:
    x0, y0, x1, y1 = box
    return all(abs(edge) < LARGEST_EDGE_PX for edge in box) and x0 < x1 and y0 < y1
