# SPDX-License-Identifier: Apache-2.0
"""Edits of the prompts of one object on one frame: a new click, box or stroke, one click less, none.

Pure functions of stored rows. Does not know the model.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from sam2_ros.errors import UserError
from sam2_ros.ui.store import MaskRow, PromptRow

from .answers import BOX, CLICK, STROKE, TRACKED

MOST_ITEMS = 200  # clicks and strokes of one object on one frame


def prompts_to_edit(key: tuple[int, int, int], row: PromptRow | None, mask: MaskRow | None) -> PromptRow:
    """The stored prompts of a frame; without any, new ones, which correct the tracked mask if there is one.

    Args:
        key: source, object, frame.
        row: the stored prompts.
        mask: the stored mask.
    """
    if row is not None:
        return row
    if mask is None or mask.keyframe or not mask.area:
        return PromptRow(*key, [])
    tracked = [TRACKED, mask.presence, mask.predicted_iou, mask.state, mask.run_id]
    return PromptRow(*key, [tracked], mask.runs)


def with_click(row: PromptRow, x: Any, y: Any, sign: Any) -> PromptRow:
    """One click more: `sign` 1 = on the object, 0 or -1 = not on it."""
    if sign not in (1, 0, -1) or isinstance(sign, bool):
        raise UserError(f"sign {sign!r} given, 1 (on the object) or 0 (not on it) expected")
    return _added(row, [CLICK, number("x", x), number("y", y), 1 if sign == 1 else 0])


def without_click(row: PromptRow, index: Any) -> PromptRow:
    """One click less; `index` counts the clicks of this frame from 0."""
    clicks = [at for at, item in enumerate(row.items) if item[0] == CLICK]
    if type(index) is not int or not 0 <= index < len(clicks):
        raise UserError(f"click {index!r} given, a click of this frame from 0 to {len(clicks) - 1} expected")
    return replace(row, items=[item for at, item in enumerate(row.items) if at != clicks[index]])


def with_box(row: PromptRow, corners: list[Any]) -> PromptRow:
    """A box in place of every earlier prompt of the frame, as in the official predictors."""
    return replace(row, items=[*_tracked(row), [BOX, *map_numbers(corners)]])


def with_stroke(row: PromptRow, points: list[tuple[float, float]], radius: float, erase: bool) -> PromptRow:
    """One stroke more."""
    return _added(row, [STROKE, [list(point) for point in points], radius, bool(erase)])


def has_prompts(row: PromptRow) -> bool:
    """True if any prompt is left."""
    return any(item[0] != TRACKED for item in row.items)


def corrects_base(row: PromptRow) -> bool:
    """True if the prompts correct the tracked mask: a box does not, it replaces it."""
    return row.base is not None and not any(item[0] == BOX for item in row.items)


def tracked_again(row: PromptRow, width: int) -> MaskRow | None:
    """The tracked mask that was there before the prompts; None if there was none.

    Args:
        row: the prompts.
        width: of the frame, pixels.
    """
    found = _tracked(row)
    if row.base is None or not found:
        return None
    presence, iou, state, run_id = found[0][1:]
    empty = MaskRow(row.source_id, row.object, row.frame, row.base, 0.0, 0.0, 0, False, 0, 0.0, 0.0, 0)
    key = (row.source_id, row.object, row.frame)
    return MaskRow.of(key, empty.run_lengths, width, (presence, iou), state, False, run_id)


def number(name: str, value: Any) -> float:
    """A finite number of pixels. Raises UserError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{name} {value!r} given, a number of pixels expected")
    return float(value)


def map_numbers(values: list[Any]) -> list[float]:
    """Corners of a box as numbers."""
    return [number(name, value) for name, value in zip(("x0", "y0", "x1", "y1"), values, strict=True)]


def _tracked(row: PromptRow) -> list[list[Any]]:
    return [item for item in row.items if item[0] == TRACKED]


def _added(row: PromptRow, item: list[Any]) -> PromptRow:
    if len(row.items) >= MOST_ITEMS:
        raise UserError(
            f"{len(row.items)} prompts of one object on one frame: expected at most {MOST_ITEMS}; clear the frame"
        )
    return replace(row, items=[*row.items, item])
