# SPDX-License-Identifier: Apache-2.0
"""The mask that all prompts of one object on one frame give, in the order in which they were made.

Clicks and a box are decoded together; a stroke is drawn into the mask that was there, which clicks after it correct.
Does not know objects, tracking or the store.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from sam2_ros.engine import ImagePrediction, ImageSegmenter, Prompt, PromptError, Sam2Model

from .click_rules import changed_at_clicks, follow_clicks, inner_pixel

CLICK, BOX, STROKE, TRACKED = "click", "box", "stroke", "tracked"
MOST_STROKE_POINTS = 10_000
_SHIFT = 3  # strokes are drawn to eighths of a pixel


class Answer(NamedTuple):
    """A mask ``[H, W]`` bool and its predicted IoU; 1 for a mask that was drawn."""

    mask_hw: np.ndarray
    predicted_iou: float


def answer(
    segmenter: ImageSegmenter,
    items: Sequence[Sequence[Any]],
    hw: tuple[int, int],
    base_hw: np.ndarray | None = None,
) -> Answer:
    """Decode the prompts of an object on the image of a segmenter.

    Args:
        segmenter: with the frame's image set.
        items: see `PromptRow.items`.
        hw: height and width of the frame, pixels.
        base_hw: ``[H, W]`` bool, the tracked mask that they correct; None = none.

    Raises:
        PromptError: a click or box is invalid, or there is no prompt.
    """
    found: Answer | None = None if base_hw is None else Answer(base_hw, 1.0)
    points: list[Sequence[float]] = []
    box: tuple[float, ...] | None = None
    undecoded = False
    for kind, *values in items:
        if kind == CLICK:
            points.append(values)
            undecoded = True
        elif kind == BOX:
            box, undecoded = tuple(values), True
        elif kind == STROKE:
            if undecoded:
                found, undecoded = _decoded(segmenter, hw, points, box, found), False
            found = Answer(drawn(hw, found and found.mask_hw, *values), 1.0)
    if undecoded:
        found = _decoded(segmenter, hw, points, box, found)
    if found is None:
        raise PromptError("no prompt given: expected a click, a box or a stroke")
    return found


def _decoded(
    segmenter: ImageSegmenter,
    hw: tuple[int, int],
    points: Sequence[Sequence[float]],
    box: tuple[float, ...] | None,
    earlier: Answer | None,
) -> Answer:
    corrected = earlier.mask_hw if earlier is not None and earlier.mask_hw.any() else None
    clicks = list(points)
    if corrected is not None and box is None and not any(sign for _, _, sign in points):
        clicks.append((*inner_pixel(corrected, points), 1))  # negative clicks alone would leave no object
    found = _ask(segmenter, hw, clicks, box, corrected)
    mask_hw = found.masks[0]
    if corrected is not None and box is None:
        mask_hw = changed_at_clicks(corrected, mask_hw, points)
    mask_hw = follow_clicks(mask_hw, points, lambda asked: _ask(segmenter, hw, asked).masks[0])
    return Answer(mask_hw, float(found.scores[0]))


def _ask(
    segmenter: ImageSegmenter,
    hw: tuple[int, int],
    clicks: Sequence[Sequence[float]],
    box: tuple[float, ...] | None = None,
    mask_hw: np.ndarray | None = None,
) -> ImagePrediction:
    prompt = Prompt(
        "object",
        points=np.array([click[:2] for click in clicks], float) if clicks else None,
        labels=np.array([click[2] for click in clicks]) if clicks else None,
        box=box,  # type: ignore[arg-type]
        mask=mask_hw,
    )
    return segmenter.answer(prompt.validated(*hw))


def drawn(
    hw: tuple[int, int],
    mask_hw: np.ndarray | None,
    points: Sequence[Sequence[float]],
    radius: float,
    erase: bool,
) -> np.ndarray:
    """The mask with a round brush drawn along the points, or erased along them.

    Args:
        hw: height and width of the frame, pixels.
        mask_hw: ``[H, W]`` bool; None = empty.
        points: (x, y) in pixels.
        radius: of the brush, pixels.
        erase: True = eraser.
    """
    stroke = np.zeros(hw, np.uint8)
    scaled = np.round(np.asarray(points, float) * (1 << _SHIFT)).astype(np.int32)
    for x, y in scaled.tolist():
        cv2.circle(stroke, (x, y), round(radius * (1 << _SHIFT)), 1, -1, cv2.LINE_8, _SHIFT)
    if len(scaled) > 1:
        cv2.polylines(
            stroke, [scaled.reshape(-1, 1, 2)], False, 1, max(1, round(2 * radius)), cv2.LINE_8, _SHIFT
        )
    mask = np.zeros(hw, bool) if mask_hw is None else mask_hw.copy()
    mask[stroke > 0] = not erase
    return mask


def checked_stroke(points: Any, radius: Any, hw: tuple[int, int]) -> tuple[list[tuple[float, float]], float]:
    """Points and radius of a stroke as floats.

    Raises:
        PromptError: no points, too many, not finite, or far outside; or a radius that is no brush.
    """
    side = float(max(hw))
    try:
        checked = [(float(x), float(y)) for x, y in points]
        radius = float(radius)
    except (TypeError, ValueError):
        raise PromptError(
            "a stroke that is not numbers: expected points [[x, y], ...] and a radius"
        ) from None
    if not 1 <= len(checked) <= MOST_STROKE_POINTS:
        raise PromptError(f"a stroke of {len(checked)} points: expected 1 to {MOST_STROKE_POINTS}")
    if not all(math.isfinite(v) and -side <= v <= 2 * side for point in checked for v in point):
        raise PromptError("a stroke far outside of the image: expected x, y in pixels of the frame")
    if not 0.5 <= radius <= side:
        raise PromptError(f"a brush of radius {radius:g}: expected 0.5 to {side:g} pixels")
    return checked, radius


class FeatureCache:
    """Image features of the frames that were prompted last. For the thread that owns the model."""

    def __init__(self, image_of: Callable[[int], np.ndarray], frames: int = 4) -> None:
        self._image_of, self._most = image_of, frames
        self._segmenters: OrderedDict[int, ImageSegmenter] = OrderedDict()

    def segmenter(self, model: Sam2Model, frame: int) -> ImageSegmenter:
        """A segmenter with the image of this frame set."""
        found = self._segmenters.pop(frame, None)
        if found is None:
            found = ImageSegmenter(model)
            found.set_image(self._image_of(frame))
        self._segmenters[frame] = found
        while len(self._segmenters) > self._most:
            self._segmenters.popitem(last=False)
        return found
