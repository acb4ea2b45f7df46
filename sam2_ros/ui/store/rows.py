# SPDX-License-Identifier: Apache-2.0
"""Rows of the tables as frozen values. Field names are those of the columns.

Does not know SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .run_lengths import area_and_centroid, pack, unpack


@dataclass(frozen=True)
class SourceRow:
    """A source of the project. `id` 0 = not stored yet."""

    kind: str
    name: str
    path: str
    frames: int
    fps: float
    width: int
    height: int
    options: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0


@dataclass(frozen=True)
class ObjectRow:
    """An object of a source; `object` is its number."""

    source_id: int
    object: int
    name: str
    class_id: str
    colour: str
    locked: bool = False


@dataclass(frozen=True)
class PromptRow:
    """The prompts of one object on one frame, in the order in which they were made.

    Attributes:
        items: each ``["click", x, y, sign]``, ``["box", x0, y0, x1, y1]`` or ``["stroke", points, radius, erase]``.
        base: packed run lengths of the tracked mask that they correct, or None.
        accepted: an annotator has accepted the frame.
    """

    source_id: int
    object: int
    frame: int
    items: list[list[Any]]
    base: bytes | None = None
    accepted: bool = False


@dataclass(frozen=True)
class MaskRow:
    """The mask of one object on one frame.

    Attributes:
        runs: packed run lengths, see `run_lengths.pack`.
        presence: object score logit.
        predicted_iou: 0..1.
        state: `ObjectState` of the engine.
        keyframe: made by prompts; tracking never overwrites it.
        area: pixels.
        centroid_x: mean x, pixels.
        centroid_y: mean y, pixels.
        run_id: the run that made it; a later run has a higher number.
    """

    source_id: int
    object: int
    frame: int
    runs: bytes
    presence: float
    predicted_iou: float
    state: int
    keyframe: bool
    area: int
    centroid_x: float
    centroid_y: float
    run_id: int

    @staticmethod
    def of(
        key: tuple[int, int, int],
        runs: np.ndarray,
        width: int,
        scores: tuple[float, float],
        state: int,
        keyframe: bool,
        run_id: int,
    ) -> MaskRow:
        """The row of a mask.

        Args:
            key: source, object, frame.
            runs: ``[n]`` run lengths.
            width: of the frame, pixels.
            scores: presence and predicted IoU.
            state: see the class.
            keyframe: see the class.
            run_id: see the class.
        """
        area, x, y = area_and_centroid(runs, width)
        return MaskRow(*key, pack(runs), *scores, state, keyframe, area, x, y, run_id)

    @property
    def run_lengths(self) -> np.ndarray:
        """Run lengths ``[n]`` uint32."""
        return unpack(self.runs)
