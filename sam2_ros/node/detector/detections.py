# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of the association: a detector's boxes, the existing objects, the prompts to make.

Knows boxes, scores and class names; does not know messages, time, or which box shows which object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from sam2_ros.engine import ObjectState

from .overlap import Box, as_boxes, box_ious

LARGEST_EDGE_PX = 1e6  # no image is this wide: a larger coordinate is an error of the detector

# Minimum IoU at which two boxes of one message are duplicates; only the best is used.
DUPLICATE_IOU, DUPLICATE_IOU_OTHER_CLASS = 0.7, 0.85


@dataclass(frozen=True)
class Detection:
    """One box of a detector: pixels, maximum exclusive; score 0..1; class_id "" if it has no class."""

    box: Box
    score: float
    class_id: str = ""


@dataclass(frozen=True)
class KnownObject:
    """An existing object, as it was on the image of the detections or the nearest tracked image.

    Attributes:
        box: tight box when it was last visible, or while PENDING the box it was prompted with; None if neither is
            known.
        mask: ``[H, W]`` bool of that image; None if the object is hidden.
        last_visible_s: on the clock of the detections' stamps; None if it was never visible.
    """

    id: str
    class_id: str
    state: ObjectState
    box: Box | None
    mask: np.ndarray | None = None
    last_visible_s: float | None = None


@dataclass(frozen=True)
class BoxPrompt:
    """A box prompt to make on the image of the detections, for the hidden object `id` or a new object (id "")."""

    id: str
    box: Box
    class_id: str
    score: float


class _Classed(Protocol):
    @property
    def class_id(self) -> str: ...


def usable_detections(detections: Sequence[Detection], min_score: float) -> list[Detection]:
    """Detections with a valid box and a sufficient score, without duplicates, best score first in any message order."""
    usable = [each for each in detections if _has_area(each.box) and min_score <= each.score <= 1.0]
    return _without_duplicates(sorted(usable, key=lambda each: (-each.score, each.class_id, each.box)))


def with_usable_box(known: KnownObject) -> KnownObject:
    """The object, without its box if that has no area."""
    return known if known.box is None or _has_area(known.box) else replace(known, box=None)


def class_relation(a: Sequence[_Classed], b: Sequence[_Classed]) -> np.ndarray:
    """``[N, M]`` int: 1 = the same class, -1 = another class, 0 = one of them has no class."""
    relation = [
        [int(x.class_id == y.class_id) * 2 - 1 if x.class_id and y.class_id else 0 for y in b] for x in a
    ]
    return np.array(relation, np.int64).reshape(len(a), len(b))


def _without_duplicates(detections: list[Detection]) -> list[Detection]:
    """Of duplicate boxes only the first, which has the best score."""
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
