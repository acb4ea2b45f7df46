# SPDX-License-Identifier: Apache-2.0
"""Simulates the sensor of a camera on a drawn frame: exposure flicker, blur, noise and JPEG artefacts.

Knows nothing of scenes or masks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

Rng = np.random.Generator
NOISE_SIGMA_PX, NOISE_GAIN = (
    0.55,
    1.4,
)  # blur of white noise, and the gain that compensates its loss of strength


@functools.lru_cache(maxsize=4)
def _noise(height_px: int, width_px: int) -> np.ndarray:
    """Make unit noise, slightly correlated as after demosaicing, [height_px, width_px, 3] float32."""
    field = np.random.default_rng(7).standard_normal((height_px, width_px, 3)).astype(np.float32)
    return NOISE_GAIN * cv2.GaussianBlur(field, (3, 3), NOISE_SIGMA_PX)


@dataclass(frozen=True)
class Sensor:
    """The image faults of a camera: exposure flicker, blur, noise and JPEG."""

    flicker: float  # standard deviation of the exposure gain
    blur_px: int
    noise: float
    jpeg_quality: int  # 0: no JPEG

    @staticmethod
    def random(rng: Rng) -> Sensor:
        return Sensor(
            flicker=float(rng.uniform(0, 0.06)) if rng.random() < 0.4 else 0.0,
            blur_px=int(rng.choice([1, 1, 1, 3, 3])),
            noise=float(rng.uniform(1, 9)) if rng.random() < 0.6 else 0.0,
            jpeg_quality=int(rng.integers(25, 90)) if rng.random() < 0.4 else 0,
        )

    def expose(self, rng: Rng, frame: np.ndarray) -> np.ndarray:
        if self.blur_px > 1:
            frame = cv2.GaussianBlur(frame, (self.blur_px, self.blur_px), 0)
        gain = 1 + self.flicker * rng.standard_normal() if self.flicker else 1.0
        if self.noise:
            # One field of noise, shifted anew for each frame: drawing fresh noise costs more than the frame.
            noise = np.roll(_noise(frame.shape[0], frame.shape[1]), int(rng.integers(frame.size)))
            frame = cv2.addWeighted(frame, gain, noise, self.noise, 0, dtype=cv2.CV_8U)
        elif self.flicker:
            frame = cv2.convertScaleAbs(frame, alpha=gain)
        if self.jpeg_quality:
            _, packed = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
            decoded = cv2.imdecode(packed, cv2.IMREAD_COLOR)
            assert decoded is not None, "OpenCV reads the JPEG that it wrote"
            frame = decoded
        return frame
