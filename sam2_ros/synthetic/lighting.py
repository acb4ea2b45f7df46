# SPDX-License-Identifier: Apache-2.0
"""Lighting that changes over a clip: strength and colour drift, and a shadow passes over the scene.

Knows drawn frames only; changes no mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Rng = np.random.Generator
_GRID = 24  # cells per side of the coarse map of the shadow, which is smooth


@dataclass(frozen=True)
class Band:
    """A shadow in the world between two moving parallel lines."""

    angle_rad: float  # direction across the band
    start_px: float  # position of its middle along that direction at t = 0
    speed: float  # px per frame
    half_width_px: float
    soft_px: float
    strength: float  # 0..1

    def light(self, height_px: int, width_px: int, camera: np.ndarray, t: float) -> np.ndarray:
        """Return the light over the frame, [_GRID, _GRID] float32, 1 outside the band.

        `camera` is world -> frame, [3, 3].
        """
        x = (np.arange(_GRID) + 0.5) * (width_px / _GRID)
        y = (np.arange(_GRID)[:, None] + 0.5) * (height_px / _GRID)
        back = np.linalg.inv(camera)
        cos, sin = np.cos(self.angle_rad), np.sin(self.angle_rad)
        along = back[:2].T @ (cos, sin)  # coefficients of frame x, frame y and 1
        across = along[0] * x + along[1] * y + along[2] - cos * width_px / 2 - sin * height_px / 2
        inside = self.half_width_px - np.abs(across - self.start_px - self.speed * t)
        shade = self.strength * np.clip(inside / self.soft_px + 0.5, 0, 1)
        return (1 - shade).astype(np.float32)


@dataclass(frozen=True)
class Lighting:
    """Gain of each colour channel over time, and optionally a band of shadow."""

    swing_rgb: tuple[float, float, float]  # amplitude of the logarithm of the gain
    frequency: float  # cycles per frame
    phase: float
    band: Band | None = None

    @staticmethod
    def random(rng: Rng, side_px: int, frames: int) -> Lighting:
        common, tint = rng.normal(0, 0.18), rng.normal(0, 0.06, 3)
        red, green, blue = np.clip(common + tint, -0.4, 0.4).tolist()
        band = None
        if rng.random() < 0.5:
            start = float(rng.uniform(-1.2, 1.2) * side_px)
            band = Band(
                float(rng.uniform(0, 2 * np.pi)),
                start,
                float((rng.uniform(-1, 1) * side_px - start) / max(2, frames) * rng.uniform(0.5, 2)),
                float(rng.uniform(0.1, 0.6) * side_px),
                float(rng.uniform(0.03, 0.3) * side_px),
                float(rng.uniform(0.25, 0.65)),
            )
        slow = float(rng.uniform(0.2, 1.5) / max(8, frames))
        return Lighting((red, green, blue), slow, float(rng.uniform(0, 2 * np.pi)), band)

    def cast(self, frame: np.ndarray, camera: np.ndarray, t: float) -> np.ndarray:
        """Return the frame ([H, W, 3] uint8) in the light of time t; `camera` is world -> frame, [3, 3]."""
        tables = np.arange(256)[:, None] * self.gain_rgb(t)
        frame = cv2.LUT(frame, np.clip(tables, 0, 255).astype(np.uint8)[None])
        if self.band is not None:
            height_px, width_px = frame.shape[:2]
            coarse = self.band.light(height_px, width_px, camera, t)
            light = cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
            frame = cv2.blendLinear(frame, np.zeros_like(frame), light, 1 - light)
        return frame

    def gain_rgb(self, t: float) -> np.ndarray:
        """Return the gain of R, G, B at time t, [3] float64."""
        return np.exp(np.array(self.swing_rgb) * np.sin(2 * np.pi * self.frequency * t + self.phase))
