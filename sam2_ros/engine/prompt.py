# SPDX-License-Identifier: Apache-2.0
"""A prompt: clicks, a box or a mask of one object on one frame, and its validation.

Knows pixels of the frame it was made on; does not know the model's input size or who sent it.
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
"""Of one prompt. Attention in the decoder takes memory by the square of them: 100,000 end the process."""
LEAST_SIDE_PX = 4
"""Of an image in which fractions of its size are told from pixels."""


class PromptError(UserError):
    """A prompt that cannot be used. One line: what was given, what was expected, what to do."""


@dataclass(frozen=True)
class Prompt:
    """One object to create or refine on one frame: any mix of points, one box, one mask.

    Attributes:
        id: name of the object; an id the tracker already holds is refined.
        points: ``[n, 2]`` clicks, (x, y) pixels of the frame.
        labels: ``[n]``, 1 = on the object, 0 = not the object; all 1 when left out.
        box: ``x0, y0, x1, y1`` pixels, max exclusive.
        mask: ``[H, W]`` or ``[1, H, W]``, the size of the frame: bool; floats from 0 to 1, of which the object has more
            than 0.5; or integers, 0 and one other value, see `mask_values.object_pixels`. A PIL image of one channel
            will do.
        class_id: carried through to the outputs.
        replace: forget this object's earlier prompts and memory first.
    """

    id: str
    points: np.ndarray | None = None
    labels: np.ndarray | None = None
    box: tuple[float, float, float, float] | None = None
    mask: np.ndarray | None = None
    class_id: str = ""
    replace: bool = False
    # Size of the frame it was validated against; a copy with other values begins anew.
    _valid_hw: tuple[int, int] | None = field(default=None, init=False, repr=False, compare=False)

    def validated(self, height_px: int, width_px: int) -> Prompt:
        """This prompt with canonical arrays, checked against a frame of the given size.

        A box that is partly outside is clipped to the frame. What is valid for this size already is returned as it is:
        of a prompt on its way through several layers nothing is checked again.

        Raises:
            PromptError: nothing to go by, a number that is not finite, a box without area or wholly
                outside, a point outside, more than `MAX_POINTS`, fractions of the image instead of pixels, a mask of
                another size, of several objects or without a pixel, a name that is no text.
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
        """The same under a valid id."""
        return replace(self, id=id)._marked(self._valid_hw)

    def _marked(self, valid_hw: tuple[int, int] | None) -> Prompt:
        """Itself, known to be valid for frames of this size."""
        object.__setattr__(self, "_valid_hw", valid_hw)
        return self

    def _error(self, given: str, expected: str) -> PromptError:
        return PromptError(f"prompt '{readable(str(self.id))}': {given}; expected {expected}")

    def _numbers(self, what: str, given: Any, expected: str) -> np.ndarray:
        """As float64. Raises PromptError for text, rows of unequal length and integers beyond all floats."""
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
                f"at most {MAX_POINTS:,}: a few clicks say more, and for a whole outline a mask does",
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
        for x, y in points.tolist():
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
            mask = np.asarray(mask)  # a PIL image has an interface for it
        except (TypeError, ValueError, RuntimeError):  # unequal rows; a tensor with a gradient or on a GPU
            raise self._error(
                f"mask of type {type(mask).__name__}, which is no array", "[H, W] that numpy can take"
            ) from None
        if mask.ndim == 3 and mask.shape[0] == 1:  # as masks come from the official predictors
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
    """One prompt per id, in order of first mention: clicks add up, a box, a mask and a class join them.

    A prompt that replaces forgets those before it. Two boxes, masks or classes of one object cannot both be meant.

    Args:
        on_conflict: is told, and the later one counts; left out: PromptError.
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
        else:  # of two that are valid for one size, so is what they make together
            same_size = earlier._valid_hw == prompt._valid_hw
            merged[prompt.id] = _merge(earlier, prompt)._marked(prompt._valid_hw if same_size else None)
    return list(merged.values())


def joined_clicks(first: Prompt, second: Prompt) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Points and labels of two validated prompts, those of the first in front; None when neither has any."""
    clicks = [(p.points, p.labels) for p in (first, second) if p.points is not None and p.labels is not None]
    if not clicks:
        return None, None
    return np.concatenate([points for points, _ in clicks]), np.concatenate([labels for _, labels in clicks])


def warn_of_whole_masks(prompts: Sequence[Prompt]) -> None:
    """Log those whose mask covers the image: it can be meant, and hardly ever is."""
    for prompt in prompts:
        if prompt.mask is not None and prompt.mask.all():
            _log.warning(
                "prompt '%s': its mask covers the whole image; expected the pixels of the object alone",
                readable(prompt.id),
            )


def _conflict(first: Prompt, second: Prompt) -> str:
    """What two prompts for one object say differently; "" when they can be merged."""
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
