# SPDX-License-Identifier: Apache-2.0
"""What a session tells and answers: masks of objects, lanes of the timeline, events.

Plain values. Does not know how they are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam2_ros.ui.store import MaskRow
from sam2_ros.ui.store.run_lengths import to_mask

NEVER_TRACKED = 255  # in a lane


@dataclass(frozen=True)
class ObjectMask:
    """The mask of one object on one frame.

    Attributes:
        object: its number; 0 for a preview.
        runs: ``[n]`` uint32 row-major run lengths, background first; they sum to height * width, or none = empty.
        height: of the frame, pixels.
        width: of the frame, pixels.
        presence: object score logit; above 0 = visible.
        predicted_iou: 0..1.
        state: `ObjectState` of the engine: 0 PENDING, 1 TRACKING, 2 OCCLUDED, 3 LOST.
        keyframe: made by prompts.
    """

    object: int
    runs: np.ndarray
    height: int
    width: int
    presence: float
    predicted_iou: float
    state: int
    keyframe: bool = False

    @property
    def mask_hw(self) -> np.ndarray:
        """``[H, W]`` bool."""
        return to_mask(self.runs, self.height, self.width)

    @staticmethod
    def of(row: MaskRow, hw: tuple[int, int]) -> ObjectMask:
        """The mask of a stored row."""
        return ObjectMask(
            row.object, row.run_lengths, *hw, row.presence, row.predicted_iou, row.state, row.keyframe
        )


@dataclass(frozen=True)
class Lane:
    """One object along the timeline, ``[frames]`` each.

    Attributes:
        state: uint8, `ObjectState`, or 255 where it was never tracked.
        presence: float32 object score logit.
        predicted_iou: float32, 0..1.
        keyframe: bool.
    """

    state: np.ndarray
    presence: np.ndarray
    predicted_iou: np.ndarray
    keyframe: np.ndarray


@dataclass(frozen=True)
class MaskEvent:
    """All masks of a frame, after tracking has changed some of them. They are saved."""

    source: int
    frame: int
    masks: Sequence[ObjectMask]


Event = dict[str, Any] | MaskEvent
OnEvent = Callable[[Event], None]
