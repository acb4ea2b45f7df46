# SPDX-License-Identifier: Apache-2.0
"""Baseline trackers without learning: dense optical flow, and a box tracker with GrabCut.

Start from a mask and a box, and get images; know no model and no ground truth.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

import cv2
import numpy as np

GRABCUT_LONG_SIDE_PX = 256
GRABCUT_ROUNDS = 3
CONTEXT_SHARE = 0.5
"""Margin around a box that GrabCut sees, as a share of the box's sides: enough to model the background."""


Box = tuple[float, float, float, float]


class Baseline(Protocol):
    """A tracker without learning. Gets every frame of a sequence in order, from the first prompted one on."""

    def track(self, image_hw3: np.ndarray) -> dict[str, np.ndarray]:
        """Masks of all objects, ``[H, W]`` bool, in the next frame."""

    def add_object(self, name: str, image_hw3: np.ndarray, mask_hw: np.ndarray, box: Box | None) -> None:
        """Adds an object by its mask and box (x0, y0, x1, y1 px; None = not visible) in the last tracked frame."""


class FlowBaseline:
    """Moves every mask from frame to frame by dense optical flow (DIS, Kroeger et al. 2016)."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._grey: np.ndarray | None = None
        # [H, W] float32, 0..1: soft edges keep movements of less than a pixel.
        self._shares: dict[str, np.ndarray] = {}

    def track(self, image_hw3: np.ndarray) -> dict[str, np.ndarray]:
        grey = cv2.cvtColor(image_hw3, cv2.COLOR_RGB2GRAY)
        if self._grey is not None and self._shares:
            # Position of each pixel in the previous frame.
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
    """Tracks the box (MIL, Babenko et al. 2009) and segments it by GrabCut (Rother et al. 2004).

    The result depends strongly on the box tracker's random numbers. They are seeded again for each object, so that its
    scores do not depend on earlier objects.
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
        self._trackers[name] = None  # no box: nothing to track
        if box is not None:
            x0, y0, x1, y1 = (round(edge) for edge in box)
            # TrackerMIL draws from C's rand(), whose initial seed is 1, and from OpenCV's generator.
            ctypes.CDLL(None).srand(1)
            cv2.setRNGSeed(0)
            tracker = self._trackers[name] = cv2.TrackerMIL.create()
            tracker.init(image_hw3, (x0, y0, x1 - x0, y1 - y0))


BASELINES: dict[str, type[FlowBaseline] | type[GrabCutBaseline]] = {
    "flow": FlowBaseline,
    "grabcut": GrabCutBaseline,
}


def grabcut(image_hw3: np.ndarray, box: Box) -> np.ndarray:
    """Segments the object in a box (x0, y0, x1, y1 px) by GrabCut: ``[H, W]`` bool, empty if nothing is found.

    Runs on the box with a margin, scaled down to 256 px, so that its time does not depend on the size of the image.
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
        mask[y0:y1, x0:x1] = True  # the box is the whole image: there is no background to model
        return mask
    cv2.setRNGSeed(0)  # GrabCut initialises its colour models with random clusters
    try:
        cv2.grabCut(
            cv2.cvtColor(small, cv2.COLOR_RGB2BGR), labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)),
            GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK,
        )  # fmt: skip
    except cv2.error:
        return mask  # too few foreground or background pixels for the colour mixture
    inside = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    back = cv2.resize(inside, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    mask[top:bottom, left:right] = back > 0.5
    return mask
