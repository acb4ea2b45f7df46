# SPDX-License-Identifier: Apache-2.0
"""Chooses the worst frames of a run, and draws them: prediction tinted, ground truth outlined in white.

Knows curves, masks and pixels; does not know where the images come from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sam2_ros.media.overlay import TINT, colour_of

from .data import ReportedObject

TRUTH_RGB = (255, 255, 255)
_SHADE_RGB = (20, 24, 30)  # around the white line, so that it is visible on a bright image
PICTURE_PX = 640
"""Largest longer side of pictures in a report."""


@dataclass(frozen=True)
class FrameMasks:
    """One frame: ``[H, W, 3]`` uint8 RGB, and ``[H, W]`` bool masks by object; objects without a mask are left out."""

    image_hw3: np.ndarray
    answers: Mapping[str, np.ndarray]
    truths: Mapping[str, np.ndarray]


FrameKey = tuple[str, int]
"""Name of a sequence and index of a frame; of a replay, name of a run and index of an image."""

ReadFrames = Callable[[Collection[FrameKey]], Mapping[FrameKey, FrameMasks]]
"""Reads all requested frames in one call, because a bag is read from start to end. Unreadable ones are left out."""


@dataclass(frozen=True)
class WorstFrame:
    """One object in one frame. `position`: index in its curve; `at`: frame number, or seconds; `j`: percent."""

    object: ReportedObject
    position: int
    at: float
    j: float


def choose_worst_frames(
    objects: Sequence[ReportedObject], count: int, per_sequence: int = 3, apart: float = 1 / 6
) -> list[WorstFrame]:
    """Chooses at most `count` frames with the lowest J among those with the object visible, the worst first.

    Frames of one sequence are further apart than the share `apart` of its length, and at most `per_sequence`: a lost
    object is one event, not twenty pictures. Of equally bad frames the earliest is chosen, where the error began.
    """
    candidates = [
        WorstFrame(one, position, at, j)
        for one in objects
        if one.curve is not None
        for position, (at, j, visible) in enumerate(
            zip(one.curve.at, one.curve.j, one.curve.visible, strict=True)
        )
        if j is not None and visible
    ]
    chosen: list[WorstFrame] = []
    for worst in sorted(candidates, key=lambda worst: worst.j):  # stable: the earliest of equals
        if len(chosen) == count:
            break
        curve = worst.object.curve
        assert curve is not None
        least = apart * (curve.at[-1] - curve.at[0])
        near = [other for other in chosen if other.object.sequence == worst.object.sequence]
        if len(near) < per_sequence and all(abs(other.at - worst.at) > least for other in near):
            chosen.append(worst)
    return chosen


def draw_frame(frame: FrameMasks, object_id: str, number: int) -> np.ndarray:
    """A copy of the image, longer side at most `PICTURE_PX`, with one object's answer in the colour of `number`."""
    image = frame.image_hw3
    answer, truth = frame.answers.get(object_id), frame.truths.get(object_id)
    scale = min(1.0, PICTURE_PX / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # a copy, whatever the size
    if answer is not None:
        answer = cv2.resize(answer.astype(np.uint8), size).astype(bool)
        colour = np.array(colour_of(number), np.float32)
        image[answer] = (image[answer] * (1 - TINT) + colour * TINT).astype(np.uint8)
        _outline(image, answer, colour_of(number), 1)
    if truth is not None:
        truth = cv2.resize(truth.astype(np.uint8), size).astype(bool)
        _outline(image, truth, _SHADE_RGB, 3)
        _outline(image, truth, TRUTH_RGB, 1)
    return image


def _outline(image_hw3: np.ndarray, mask_hw: np.ndarray, colour: tuple[int, int, int], line_px: int) -> None:
    outlines, _ = cv2.findContours(mask_hw.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image_hw3, outlines, -1, colour, line_px)


def encode_jpeg(image_hw3: np.ndarray, quality: int = 85) -> bytes:
    """An ``[H, W, 3]`` RGB image as the bytes of a JPEG file."""
    image_bgr = cv2.cvtColor(image_hw3, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()
