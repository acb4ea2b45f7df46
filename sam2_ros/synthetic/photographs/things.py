# SPDX-License-Identifier: Apache-2.0
"""Layers and backdrops of photographs: cut-outs that turn, bend and ripple; crops in and out of focus.

Does not know a scene's order or motions.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from sam2_ros.synthetic.deformation import Deformation, TurnedSurface
from sam2_ros.synthetic.scene import Layer, Motion, Part

from .bank import Instance, PhotographBank

Rng = np.random.Generator
RIGID, TURNS = 0.15, 0.35  # shares of the cut-outs that keep their shape; whose surface turns
MATCHED = 0.4  # share of the cut-outs that take on some of the colour and light of what is behind them


def cutout_layer(
    rng: Rng,
    bank: PhotographBank,
    instance: Instance,
    motion: Motion,
    frames: int,
    label: int = -1,
    under_rgb: np.ndarray | None = None,
) -> Layer:
    """Make a layer of an instance; `under_rgb` is the mean colour behind it."""
    part = Part(relit(rng, bank.cutout(instance).sprite, under_rgb))
    if rng.random() < TURNS:
        part = replace(part, surface=TurnedSurface.random(rng, part.sprite, frames))
    casts = rng.random() < 0.5
    return Layer(
        (part,),
        motion,
        label,
        shadow_xy=(float(rng.uniform(-0.2, 0.2)), float(rng.uniform(0.0, 0.25))),
        shadow_strength=float(rng.uniform(0.1, 0.5)) if casts else 0.0,
        motion_blur=bool(rng.random() < 0.35),
        warp=None if rng.random() < RIGID else Deformation.random(rng, frames),
    )


def relit(rng: Rng, sprite: np.ndarray, under_rgb: np.ndarray | None) -> np.ndarray:
    """Return a sprite with another exposure, tint, contrast and saturation, for a share nearer to what is behind."""
    mean = np.array(cv2.mean(sprite, np.ascontiguousarray(sprite[..., 3]))[:3])
    contrast, saturation = np.exp(rng.normal(0, 0.12)), np.exp(rng.normal(0, 0.15))
    target = mean * np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.04, 3))
    if under_rgb is not None and rng.random() < MATCHED:
        target += rng.uniform(0.15, 0.5) * (under_rgb - target)
    grey = np.full((3, 3), 1 / 3)
    linear = contrast * (grey + saturation * (np.eye(3) - grey))
    matrix = np.zeros((4, 5))
    matrix[:3, :3], matrix[:3, 4], matrix[3, 3] = linear, target - linear @ mean, 1
    return cv2.transform(sprite, matrix)


def photo_backdrop(rng: Rng, bank: PhotographBank, height_px: int, width_px: int) -> np.ndarray:
    """Cut a backdrop out of a photograph, [height_px, width_px, 3] uint8; some are mirrored or out of focus."""
    image = bank.pixels(int(rng.integers(len(bank)))).image
    rows, columns = image.shape[:2]
    largest = min(rows / height_px, columns / width_px)  # photograph pixels per backdrop pixel
    scale = largest * float(rng.uniform(0.55, 1.0))
    height, width = min(rows, max(1, round(scale * height_px))), min(columns, max(1, round(scale * width_px)))
    y, x = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
    crop = image[y : y + height, x : x + width]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    crop = _exposed(rng, crop)
    shrinks = scale > 1
    image = cv2.resize(
        crop, (width_px, height_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    if rng.random() < 0.3:
        side = 2 * max(1, round(height_px * float(np.exp(rng.uniform(np.log(0.002), np.log(0.015)))))) + 1
        image = cv2.blur(cv2.blur(image, (side, side)), (side, side))
    return image


def _exposed(rng: Rng, image: np.ndarray) -> np.ndarray:
    gain = np.exp(rng.normal(-0.03, 0.1)) * np.exp(rng.normal(0, 0.04, 3))
    tables = 255 * (np.arange(256)[:, None] / 255) ** np.exp(rng.normal(0, 0.15)) * gain
    return cv2.LUT(np.ascontiguousarray(image), np.clip(tables, 0, 255).astype(np.uint8)[None])


def exposed(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Return an image ([h, w, 3] uint8) with another exposure, tint, contrast curve and saturation."""
    saturation = np.exp(rng.normal(0, 0.2))
    grey = np.full((3, 3), 1 / 3)
    return _exposed(rng, cv2.transform(image, grey + saturation * (np.eye(3) - grey)))
