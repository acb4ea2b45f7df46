# SPDX-License-Identifier: Apache-2.0
"""Baseline trackers without learning: dense optical flow, and a box tracker with GrabCut.

Know a mask and a box to start from, and images; know no model and no truth.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

import cv2
import numpy as np

GRABCUT_LONG_SIDE_PX = 256
GRABCUT_ROUNDS = 3
CONTEXT_SHARE = 0.5
"""Of the sides of a box, that GrabCut sees around it: enough for what background looks like."""


Box = tuple[float, float, float, float]


class Baseline(Protocol):
    """Gets every frame of a sequence, in order, from the one on which the first object is added."""

    def track(self, image_hw3: np.ndarray) -> dict[str, np.ndarray]:
        """Masks of all objects, ``[H, W]`` bool, in the next frame."""

    def add_object(self, name: str, image_hw3: np.ndarray, mask_hw: np.ndarray, box: Box | None) -> None:
        """Add an object by its mask and box (x0, y0, x1, y1 px; None = not seen) in the last tracked frame."""


class FlowBaseline:
    """Carries every mask by dense optical flow (DIS, Kroeger et al. 2016) from frame to frame."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._grey: np.ndarray | None = None
        # [H, W] float32: a mask that moves by parts of a pixel stays soft.
        self._shares: dict[str, np.ndarray] = {}

    def track(self, image_hw3: np.ndarray) -> dict[str, np.ndarray]:
        grey = cv2.cvtColor(image_hw3, cv2.COLOR_RGB2GRAY)
        if self._grey is not None and self._shares:
            # Where each pixel was in the frame before.
            back_hw2 = self._flow.calc(grey, self._grey, None)  # type: ignore[call-overload]  # no first guess
            height, width = grey.shape
            x = back_hw2[..., 0] + np.arange(width, dtype=np.float32)
            y = back_hw2[..., 1] + np.arange(height, dtype=np.float32)[:, None]
            for name, share in self._shares.items():
                self._shares[name] = cv2.remap(share, x, y, cv2.INTER_LINEAR)
        self._grey = grey
        return {name: share > 0.5 for name, share in self._shares.items()}

    def add_object(self, name: str, image_hw3: np.ndarray, mask_hw: np.ndarray, box: Box | None) -> None:
        self._shares[name] = mask_hw.astype(np.float32)


class GrabCutBaseline:
    """Follows the box (MIL, Babenko et al. 2009) and fills it by GrabCut (Rother et al. 2004).

    The box tracker's random choices decide much; each object starts them anew, so that its numbers do not depend on
    what ran before.
    """

    def __init__(self) -> None:
        self._trackers: dict[str, cv2.TrackerMIL | None] = {}

    def track(self, image_hw3: np.ndarray) -> dict[str, np.ndarray]:
        masks = {}
        for name, tracker in self._trackers.items():
            found, (x, y, width, height) = tracker.update(image_hw3) if tracker else (False, (0, 0, 0, 0))
            box = (x, y, x + width, y + height)
            masks[name] = grabcut(image_hw3, box) if found else np.zeros(image_hw3.shape[:2], bool)
        return masks

    def add_object(self, name: str, image_hw3: np.ndarray, mask_hw: np.ndarray, box: Box | None) -> None:
        self._trackers[name] = None  # nothing to follow
        if box is not None:
            x0, y0, x1, y1 = (round(edge) for edge in box)
            # It draws from C's rand(), which starts like this, and from a generator of OpenCV's.
            ctypes.CDLL(None).srand(1)
            cv2.setRNGSeed(0)
            tracker = self._trackers[name] = cv2.TrackerMIL.create()
            tracker.init(image_hw3, (x0, y0, x1 - x0, y1 - y0))


BASELINES: dict[str, type[FlowBaseline] | type[GrabCutBaseline]] = {
    "flow": FlowBaseline,
    "grabcut": GrabCutBaseline,
}


def grabcut(image_hw3: np.ndarray, box: Box) -> np.ndarray:
    """``[H, W]`` bool: what GrabCut finds in a box x0, y0, x1, y1 in pixels, empty when that leaves nothing.

    It works on the box with some context, scaled down to 256 px: its time does not depend on the camera then.
    """
    height, width = image_hw3.shape[:2]
    mask = np.zeros((height, width), bool)
    x0, y0 = max(0, round(box[0])), max(0, round(box[1]))
    x1, y1 = min(width, round(box[2])), min(height, round(box[3]))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return mask
    dx, dy = round((x1 - x0) * CONTEXT_SHARE), round((y1 - y0) * CONTEXT_SHARE)
    left, top, right, bottom = max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + dx), min(height, y1 + dy)
    scale = min(1.0, GRABCUT_LONG_SIDE_PX / max(right - left, bottom - top))
    window = image_hw3[top:bottom, left:right]
    size = max(4, round(window.shape[1] * scale)), max(4, round(window.shape[0] * scale))
    small = cv2.resize(window, size, interpolation=cv2.INTER_AREA)
    labels = np.full(small.shape[:2], cv2.GC_BGD, np.uint8)
    inner = [round(v * scale) for v in (x0 - left, y0 - top, x1 - left, y1 - top)]
    labels[inner[1] : inner[3], inner[0] : inner[2]] = cv2.GC_PR_FGD
    if (labels == cv2.GC_PR_FGD).all():
        mask[y0:y1, x0:x1] = True  # the box is the image: there is no background to learn from
        return mask
    cv2.setRNGSeed(0)  # its colour models start from random clusters
    try:
        cv2.grabCut(
            cv2.cvtColor(small, cv2.COLOR_RGB2BGR), labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)),
            GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK,
        )  # fmt: skip
    except cv2.error:
        return mask  # too few pixels of one kind for its mixture of colours
    inside = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    back = cv2.resize(inside, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    mask[top:bottom, left:right] = back > 0.5
    return mask
