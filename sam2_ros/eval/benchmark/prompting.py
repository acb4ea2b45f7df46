# SPDX-License-Identifier: Apache-2.0
"""Simulates prompts from the annotation: the mask, its tight box, clicks on the largest error.

Knows masks only; does not know the tracker or the segmenter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from sam2_ros.engine import Prompt

CLICKS = {"click1": 1, "click3": 3, "click5": 5, "online": 3}
"""Number of clicks on the frame on which an object is first prompted, by kind of prompt."""
PROMPT_KINDS = ("mask", "box", *CLICKS)


def correcting_click(answer_hw: np.ndarray, truth_hw: np.ndarray) -> tuple[float, float, int] | None:
    """The next correcting click: x, y and label (1 = on the object), or None if there is no error.

    The click lies on the pixel deepest inside the error: missing pixels (label 1) or extra ones (label 0). With an
    empty answer it is the centre of the object: its pixel farthest from the background and from the image's border
    (SAM 2 paper, section F.1.1; its public code measures the same distances).
    """
    missing, extra = truth_hw & ~answer_hw, answer_hw & ~truth_hw
    depth_missing, depth_extra = _depth(missing), _depth(extra)
    if max(depth_missing.max(), depth_extra.max()) == 0:
        return None
    on_object = depth_missing.max() >= depth_extra.max()
    y, x = np.unravel_index(int((depth_missing if on_object else depth_extra).argmax()), truth_hw.shape)
    return float(x), float(y), int(on_object)


@dataclass
class Clicks:
    """Clicks on one object on one frame, in order."""

    points: list[tuple[float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def add_on_error(self, answer_hw: np.ndarray, truth_hw: np.ndarray) -> bool:
        """Adds the next correcting click. Returns False if there is no error left."""
        click = correcting_click(answer_hw, truth_hw)
        if click is None:
            return False
        self.points.append(click[:2])
        self.labels.append(click[2])
        return True

    def prompt(self, name: str) -> Prompt:
        return Prompt(name, points=np.array(self.points), labels=np.array(self.labels))


def _depth(region_hw: np.ndarray) -> np.ndarray:
    """``[H, W]``: distance in pixels from each pixel of a region to the nearest one outside it, or to the border."""
    padded = np.pad(region_hw, 1).astype(np.uint8)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
