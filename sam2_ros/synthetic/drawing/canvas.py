# SPDX-License-Identifier: Apache-2.0
"""Paints one sprite from several materials: outlines filled with paint or texture, marks, holes, a turning surface.

Does not know what the sprite represents.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from sam2_ros.synthetic.scene import Part, ScrollingTexture, Wave

from . import shapes
from .patterns import random_colour
from .textures import recolour
from .things import Look

Rng = np.random.Generator
STILL = Wave()


class Canvas:
    """One square sprite: materials painted over each other, each within an outline in -1..1."""

    def __init__(self, rng: Rng, look: Look, share: float = 1.0) -> None:
        """`share`: size of the part relative to the thing; a small part needs few pixels."""
        self.rng, self.look = rng, look
        self.size_px = max(12, int(look.size_px * share))
        self.alpha = np.zeros((self.size_px, self.size_px), np.uint8)
        self.texture: np.ndarray | None = None

    def add(self, *outlines: np.ndarray, material: np.ndarray | None = None) -> Canvas:
        """Fill the outlines (even-odd), also outside the thing, which grows by them."""
        alpha = shapes.filled(list(outlines), self.size_px)
        self._cover(alpha, material)
        self.alpha = np.maximum(self.alpha, alpha)
        return self

    def mark(self, *outlines: np.ndarray, material: np.ndarray | None = None) -> Canvas:
        """Fill the outlines within the thing only: a window, a patch, a stripe."""
        self._cover(shapes.filled(list(outlines), self.size_px), material)
        return self

    def cut(self, *outlines: np.ndarray) -> Canvas:
        """Cut a hole."""
        self.alpha = np.minimum(self.alpha, 255 - shapes.filled(list(outlines), self.size_px))
        return self

    def part(self, scale: float = 1.0, at_xy: tuple[float, float] = (0.0, 0.0), swing: Wave = STILL) -> Part:
        x, y, width, height = cv2.boundingRect(self.alpha)
        # Two pixels of margin for interpolation. A limb's sprite is mostly empty.
        last = self.size_px - 1
        extent = (max(x - 2, 0), max(y - 2, 0), min(x + width + 1, last), min(y + height + 1, last))
        return Part(self.look.sprite(self.alpha, self._painted()), scale, at_xy, swing=swing, extent=extent)

    def turning(self, speed: float) -> Part:
        """Return the thing as one part that turns: its surface moves within the outline."""
        part = self.part()
        painted = self._painted()
        strip = np.concatenate([painted, painted[:, ::-1]], axis=1)
        return replace(part, surface=ScrollingTexture(strip, self.look.shade(self.alpha), speed))

    def _painted(self) -> np.ndarray:
        if self.texture is None:
            self.texture = material(self.rng, self.look, self.size_px, self.size_px)
        return self.texture

    def _cover(self, alpha: np.ndarray, paint: np.ndarray | None) -> None:
        x, y, width, height = cv2.boundingRect(alpha)
        if self.texture is None:
            # The first paint fills the whole sprite, so that edges do not blend with black.
            self.texture = self._painted() if paint is None else paint[: self.size_px, : self.size_px].copy()
        elif width:
            region = slice(y, y + height), slice(x, x + width)
            top = material(self.rng, self.look, height, width) if paint is None else paint[region]
            weight = alpha[region].astype(np.float32) * (1 / 255)
            below = self.texture[region]
            cv2.blendLinear(np.ascontiguousarray(top), below, weight, 1 - weight, below)


def material(rng: Rng, look: Look, height_px: int = 0, width_px: int = 0) -> np.ndarray:
    """Make a material, [height_px, width_px, 3] uint8: plain paint, the thing's texture recoloured, or another texture.

    Without a size it has the size of the thing.
    """
    height, width = height_px or look.size_px, width_px or look.size_px
    own = np.ascontiguousarray(look.texture[:height, :width])
    draw = rng.random()
    if look.palette is not None:
        colour, draw = look.palette[int(rng.integers(len(look.palette)))], 0.8 * draw
    elif look.under_rgb is not None and rng.random() < 0.2:
        colour = np.clip(look.under_rgb + rng.normal(0, 16, 3), 5, 250)
    elif rng.random() < 0.25:  # tyres, glass, white paint
        colour = rng.choice([18.0, 45, 215, 240]) + rng.normal(0, 6, 3)
    else:
        colour = random_colour(rng)
    if draw < 0.6:
        plain = np.empty_like(own)
        plain[:] = np.clip(colour, 0, 255)
        return cv2.addWeighted(own, float(rng.uniform(0.03, 0.3)), plain, 0.85, 0)
    if draw < 0.82:
        return recolour(rng, own, 0.3, mean_rgb=colour)
    return np.ascontiguousarray(look.other(rng)[:height, :width])
