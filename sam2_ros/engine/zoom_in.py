# SPDX-License-Identifier: Apache-2.0
"""The crop of an image in which a model with a small input looks at one object a second time.

After the zoom-in of f-BRS (arXiv 2001.10331, section 5), with the crop from the first answer at every click. Knows
prompts and pixels, not the model.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from .postprocess import tight_box
from .prompt import Prompt

LEAST_PX = 64  # side of the smallest crop


class Crop(NamedTuple):
    """A rectangle of the image, pixels, max exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """The part ``[h, w, ...]`` of an array ``[H, W, ...]``, contiguous."""
        return np.ascontiguousarray(image[self.y0 : self.y1, self.x0 : self.x1])

    def into(self, mask_hw: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
        """The mask ``[h, w]`` of this crop in an image of the size `hw`, False elsewhere."""
        whole = np.zeros(hw, bool)
        whole[self.y0 : self.y1, self.x0 : self.x1] = mask_hw
        return whole

    def logits(self, logits_ss: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
        """Logits ``[s, s]`` of the whole image, which is `hw` pixels large, of this crop alone: ``[s, s]``."""
        whole = cv2.resize(logits_ss, (hw[1], hw[0]), interpolation=cv2.INTER_LINEAR)
        return cv2.resize(self.of(whole), logits_ss.shape[::-1], interpolation=cv2.INTER_LINEAR)

    def prompt(self, prompt: Prompt) -> Prompt:
        """The clicks inside the crop and the box, without the mask, in pixels of the crop."""
        points = labels = box = None
        if prompt.points is not None and prompt.labels is not None:
            moved = np.asarray(prompt.points, float) - (self.x0, self.y0)
            inside = ((moved >= 0) & (moved < (self.x1 - self.x0, self.y1 - self.y0))).all(axis=1)
            if inside.any():
                points, labels = moved[inside], np.asarray(prompt.labels)[inside]
        if prompt.box is not None:
            left, top, right, bottom = prompt.box
            box = (left - self.x0, top - self.y0, right - self.x0, bottom - self.y0)
        return Prompt(prompt.id, points=points, labels=labels, box=box)


def crop_around(prompt: Prompt, answer_hw: np.ndarray, factor: float) -> Crop | None:
    """The crop around the box of a prompt, else around its positive clicks and the first answer to them.

    Args:
        prompt: validated for the image.
        answer_hw: ``[H, W]`` bool, the mask that the whole image gave.
        factor: side of the crop / longer side of what it is around.

    Returns:
        None if a crop gives nothing: it would be the whole image, or the prompt has no box and no positive click.
    """
    height, width = answer_hw.shape
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
    else:
        clicked = _positive_clicks(prompt)
        if clicked is None:
            return None
        around = [tight_box(answer_hw)] if answer_hw.any() else []
        corners = np.array([*around, *((x, y, x + 1, y + 1) for x, y in clicked)], float)
        x0, y0 = corners[:, :2].min(axis=0)
        x1, y1 = corners[:, 2:].max(axis=0)
    side = max(math.ceil(factor * max(x1 - x0, y1 - y0)), LEAST_PX)
    crop_width, crop_height = min(side, width), min(side, height)
    if (crop_width, crop_height) == (width, height):
        return None
    left = int(np.clip((x0 + x1 - crop_width) / 2, 0, width - crop_width))
    top = int(np.clip((y0 + y1 - crop_height) / 2, 0, height - crop_height))
    return Crop(left, top, left + crop_width, top + crop_height)


def _positive_clicks(prompt: Prompt) -> np.ndarray | None:
    if prompt.points is None or prompt.labels is None:
        return None
    positive = np.asarray(prompt.points, float)[np.asarray(prompt.labels) == 1]
    return positive if len(positive) else None
