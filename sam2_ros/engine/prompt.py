# SPDX-License-Identifier: Apache-2.0
"""A prompt: clicks, a box or a mask of one object on one frame, and its validation.

Knows pixels of the frame it was made on. Does not know the model's input size or who sent it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sam2_ros.errors import UserError
from sam2_ros.text import readable, text_problem

from .mask_values import object_pixels

_log = logging.getLogger(__name__)

MAX_POINTS = 1024
"""Most points of one prompt. The decoder's attention needs memory quadratic in them: 100,000 end the process."""
LEAST_SIDE_PX = 4
"""Least side of an image for which coordinates in 0..1 are taken for fractions of its size, and refused."""


class PromptError(UserError):
    """Raised for a prompt that cannot be used. One line: what was given, what was expected, what to do."""


@dataclass(frozen=True)
class Prompt:
    """One object to create or refine on one frame: points, a box, a mask, or any mix of them.

    Values are checked when the prompt is used, or by `validated`.

    Attributes:
        id: name of the object, any text; an object that the tracker holds already is refined.
        points: ``[n, 2]`` clicks, (x, y) in pixels of the frame, at most `MAX_POINTS`.
        labels: ``[n]``, 1 = on the object, 0 = not on it; None = all 1.
        box: x0, y0, x1, y1 in pixels of the frame, max exclusive; a part outside the frame is cut off.
        mask: ``[H, W]`` or ``[1, H, W]`` at the size of the frame: bool; floats 0..1, above 0.5 on the object; or
            integers, 0 and one other value, see `mask_values.object_pixels`. A PIL image of one channel is accepted.
        class_id: any text; passed on to the outputs.
        replace: forget this object's earlier prompts and memories first.
    """

    id: str
    points: np.ndarray | None = None
    labels: np.ndarray | None = None
    box: tuple[float, float, float, float] | None = None
    mask: np.ndarray | None = None
    class_id: str = ""
    replace: bool = False
    # Size of the frame it was validated against; `dataclasses.replace` resets it, so a changed copy is checked again.
    _valid_hw: tuple[int, int] | None = field(default=None, init=False, repr=False, compare=False)

    def validated(self, height_px: int, width_px: int) -> Prompt:
        """Check the prompt against a frame of the given size.

        A prompt that was validated for this size before is returned as it is.

        Args:
            height_px: height of the frame, pixels.
            width_px: width of the frame, pixels.

        Returns:
            A copy with points as float32, labels as int64, the box clipped to the frame, and the mask as bool.

        Raises:
            PromptError: no points, box or mask; a number that is not finite; a point outside the frame; more than
                `MAX_POINTS` points; a box without area or wholly outside; fractions of the image instead of pixels; a
                mask of another size, of several objects, or without a pixel; an id or class that is not text.
        """
        if self._valid_hw == (height_px, width_px):
            return self
        if not self.id:
            raise PromptError("prompt without an id: give the object a name, such as id='cup'")
        for what, text in (("id", self.id), ("class_id", self.class_id)):
            if problem := text_problem(text):
                raise self._error(f"its {what} {problem}", "text in UTF-8, such as 'cup'")
        if self.points is None and self.box is None and self.mask is None:
            raise self._error("has no points, no box and no mask", "at least one of them")
        points, labels = self._checked_points(height_px, width_px)
        box = None if self.box is None else self._checked_box(self.box, height_px, width_px)
        mask = None if self.mask is None else self._checked_mask(self.mask, height_px, width_px)
        valid = replace(self, points=points, labels=labels, box=box, mask=mask)
        return valid._marked((height_px, width_px))

    def renamed(self, id: str) -> Prompt:
        """A copy with another id, which must be valid text; it is not checked again."""
        return replace(self, id=id)._marked(self._valid_hw)

    def _marked(self, valid_hw: tuple[int, int] | None) -> Prompt:
        """Mark this prompt as valid for frames of this size, and return it."""
        object.__setattr__(self, "_valid_hw", valid_hw)
        return self

    def _error(self, given: str, expected: str) -> PromptError:
        return PromptError(f"prompt '{readable(str(self.id))}': {given}; expected {expected}")

    def _numbers(self, what: str, given: Any, expected: str) -> np.ndarray:
        """As float64. Raises PromptError for text, rows of unequal length and integers too large for a float."""
        try:
            return np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            shown = repr(given)
            shown = shown if len(shown) <= 80 else f"{shown[:80]} ..."
            raise self._error(f"{what} {readable(shown)}, not numbers", expected) from None

    def _checked_points(self, height_px: int, width_px: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        if self.points is None:
            if self.labels is not None:
                raise self._error("labels without points", "one point (x, y) for each label")
            return None, None
        points = self._numbers("points", self.points, "[n, 2] with x, y in pixels").astype(np.float32)
        if points.ndim != 2 or points.shape[1:] != (2,) or len(points) == 0:
            raise self._error(f"points of shape {points.shape}", "[n, 2] with x, y in pixels")
        if len(points) > MAX_POINTS:
            raise self._error(
                f"{len(points):,} points",
                f"at most {MAX_POINTS:,}; give a few clicks, or a mask for a whole outline",
            )
        given = np.ones(len(points)) if self.labels is None else self.labels
        expected = f"{len(points)} of 1 (object) or 0 (not the object)"
        labels = self._numbers("labels", given, expected)
        if labels.shape != (len(points),) or not np.isin(labels, (0, 1)).all():
            listed = ", ".join(f"{label:g}" for label in labels.ravel())
            raise self._error(
                f"labels [{listed}]" if labels.size <= 16 else f"{labels.size:,} labels", expected
            )
        labels = labels.astype(np.int64)
        pixels: Any = points.tolist()  # [[x, y], ...]
        for x, y in pixels:
            if not (np.isfinite(x) and np.isfinite(y)):
                raise self._error(f"point ({x}, {y}) is not finite", "pixel coordinates")
            if not (0 <= x < width_px and 0 <= y < height_px):
                raise self._error(
                    f"point ({x:g}, {y:g}) is outside the image",
                    f"0 <= x < {width_px} and 0 <= y < {height_px}",
                )
        fractional = len(points) > 0 and points.max() <= 1 and bool((points % 1).any())
        if fractional and min(height_px, width_px) >= LEAST_SIDE_PX:
            shown = ", ".join(f"({x:g}, {y:g})" for x, y in points[:4].tolist())
            raise self._error(
                f"points {shown} are fractions of the image",
                "pixels: multiply x by the width of the image and y by its height",
            )
        return points, labels

    def _checked_box(
        self, box: tuple[float, float, float, float], height_px: int, width_px: int
    ) -> tuple[float, float, float, float]:
        values = self._numbers("box", box, "x0, y0, x1, y1 in pixels").reshape(-1)
        if values.shape != (4,):
            raise self._error(f"box of {values.size} numbers", "x0, y0, x1, y1")
        shown = ", ".join(f"{v:g}" for v in values)
        if not np.isfinite(values).all():
            raise self._error(f"box ({shown}) is not finite", "x0, y0, x1, y1 in pixels")
        x0, y0, x1, y1 = values.tolist()
        if x1 <= x0 or y1 <= y0:
            raise self._error(
                f"box ({shown}) has no area",
                "the corners x0 < x1 and y0 < y1; of x, y, width, height give x, y, x + width, y + height",
            )
        if min(x0, y0) >= 0 and max(x1, y1) <= 1 and min(height_px, width_px) >= LEAST_SIDE_PX:
            raise self._error(
                f"box ({shown}) is in fractions of the image",
                "pixels: multiply x by the width of the image and y by its height",
            )
        clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width_px)), min(y1, float(height_px)))
        if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
            raise self._error(
                f"box ({shown}) is outside the image", f"a box within {width_px} x {height_px} pixels"
            )
        return clipped

    def _checked_mask(self, mask: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
        try:
            mask = np.asarray(mask)  # converts a PIL image, too
        except (TypeError, ValueError, RuntimeError):  # unequal rows; a tensor with a gradient or on a GPU
            raise self._error(
                f"mask of type {type(mask).__name__} is not an array", "[H, W] that numpy can convert"
            ) from None
        if mask.ndim == 3 and mask.shape[0] == 1:  # the official predictors return masks like this
            mask = mask[0]
        if mask.shape != (height_px, width_px):
            size = " x ".join(str(n) for n in mask.shape[::-1])
            raise self._error(f"mask of {size} pixels", f"the size of the image, {width_px} x {height_px}")
        try:
            mask = object_pixels(mask)
        except UserError as error:
            raise PromptError(f"prompt '{readable(str(self.id))}': {error}") from None
        if not mask.any():
            raise self._error("mask without a pixel of the object", "at least one non-zero pixel")
        return mask


def merge_prompts(
    prompts: Sequence[Prompt], on_conflict: Callable[[str], None] | None = None
) -> list[Prompt]:
    """Merge prompts of the same id: clicks are concatenated, a box, a mask and a class are added.

    A prompt with `replace` drops those of its id before it. Two different boxes, masks or classes are a conflict.

    Args:
        prompts: validated for one frame, in order.
        on_conflict: called with a line of text for each conflict, of which the later value is used; None = raise.

    Returns:
        One prompt per id, in the order in which the ids first occur.

    Raises:
        PromptError: a conflict without `on_conflict`, or more than `MAX_POINTS` points of one object.
    """
    merged: dict[str, Prompt] = {}
    for prompt in prompts:
        earlier = merged.get(prompt.id)
        if earlier is not None and (conflict := _conflict(earlier, prompt)):
            if on_conflict is None:
                raise PromptError(
                    f"prompt '{readable(prompt.id)}': {conflict} at once; expected one: leave one out, or give another "
                    "object another id"
                )
            on_conflict(f"prompt '{readable(prompt.id)}': {conflict} for one image: the later one counts")
        if earlier is None:
            merged[prompt.id] = prompt
        else:  # merged from two prompts that are valid for one size, it is valid for that size
            same_size = earlier._valid_hw == prompt._valid_hw
            merged[prompt.id] = _merge(earlier, prompt)._marked(prompt._valid_hw if same_size else None)
    return list(merged.values())


def joined_clicks(first: Prompt, second: Prompt) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Points and labels of two validated prompts, concatenated; None when neither has any."""
    clicks = [(p.points, p.labels) for p in (first, second) if p.points is not None and p.labels is not None]
    if not clicks:
        return None, None
    return np.concatenate([points for points, _ in clicks]), np.concatenate([labels for _, labels in clicks])


def warn_of_whole_masks(prompts: Sequence[Prompt]) -> None:
    """Log a warning for each mask that covers the whole image: allowed, but rarely intended."""
    for prompt in prompts:
        if prompt.mask is not None and prompt.mask.all():
            _log.warning(
                "prompt '%s': its mask covers the whole image; expected only the pixels of the object",
                readable(prompt.id),
            )


def _conflict(first: Prompt, second: Prompt) -> str:
    """What contradicts between two prompts for one object; "" when they can be merged."""
    if second.replace:
        return ""
    if first.box is not None and second.box is not None and tuple(first.box) != tuple(second.box):
        return "two boxes"
    if first.mask is not None and second.mask is not None and not np.array_equal(first.mask, second.mask):
        return "two masks"
    if first.class_id and second.class_id and first.class_id != second.class_id:
        return f"two classes, '{readable(first.class_id)}' and '{readable(second.class_id)}',"
    return ""


def _merge(first: Prompt, second: Prompt) -> Prompt:
    if second.replace:
        return replace(second, class_id=second.class_id or first.class_id)
    points, labels = joined_clicks(first, second)
    if points is not None and len(points) > MAX_POINTS:
        raise PromptError(
            f"prompt '{first.id}': {len(points):,} points on one frame; expected at most {MAX_POINTS:,} in all"
        )
    return Prompt(
        id=first.id,
        points=points,
        labels=labels,
        box=second.box if second.box is not None else first.box,
        mask=second.mask if second.mask is not None else first.mask,
        class_id=second.class_id or first.class_id,
        replace=first.replace,
    )
