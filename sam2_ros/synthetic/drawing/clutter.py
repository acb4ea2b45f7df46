# SPDX-License-Identifier: Apache-2.0
"""Backdrops with many still things similar to the labelled ones, and backdrops out of focus.

Knows nothing of what moves in front of them.
"""

from __future__ import annotations

import cv2
import numpy as np

from sam2_ros.synthetic.scene import Layer, Motion, paste

from .assemblies import make_assembly
from .textures import TextureBank
from .things import Look, make_parts

Rng = np.random.Generator


def cluttered(rng: Rng, bank: TextureBank, backdrop: np.ndarray, assemblies: float) -> np.ndarray:
    """Draw 6 to 15 still things over each other on the backdrop ([h, w, 3] uint8), some of them several times."""
    height, width = backdrop.shape[:2]
    image = cv2.cvtColor(backdrop, cv2.COLOR_RGB2RGBA)
    light = float(rng.uniform(0, 2 * np.pi))
    made: list[tuple] = []
    for _ in range(int(rng.integers(6, 16))):
        half = 0.5 * min(height, width) * float(np.exp(rng.uniform(np.log(0.12), np.log(0.5))))
        if len(made) < 2 or (len(made) < 4 and rng.random() < 0.3):
            look = Look(rng, bank, min(2 * half, 64.0), light)  # low resolution saves time
            made.append(make_assembly(rng, look) if rng.random() < assemblies else make_parts(rng, look))
        parts = made[int(rng.integers(len(made)))]
        motion = Motion(
            (float(rng.uniform(0, width)), float(rng.uniform(0, height))),
            half,
            angle_rad=float(rng.normal(0, 0.3)),
            flip=-1.0 if rng.random() < 0.5 else 1.0,
        )
        paste(image, Layer(parts, motion))
    return cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)


def defocused(rng: Rng, small: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Blur a backdrop, given at half its size, as by a lens that is focused on nearer things."""
    radius = max(1, round(height_px * float(np.exp(rng.uniform(np.log(0.003), np.log(0.025))))))
    side = 2 * radius + 1
    soft = cv2.blur(cv2.blur(small, (side, side)), (side, side))
    return cv2.resize(soft, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
