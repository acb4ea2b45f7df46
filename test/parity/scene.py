# SPDX-License-Identifier: Apache-2.0
"""A small synthetic clip for the parity tests: a textured disc moves over a textured background.

Knows nothing of models. Frames are uint8 at the model's input size, so that no resize filter is involved.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def moving_disc(frames: int, size_px: int, seed: int = 0) -> np.ndarray:
    """[frames, size, size, 3] uint8 RGB; the disc starts around the middle of the left half."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size_px // 8, size_px // 8, 3))
    background = np.kron(coarse, np.ones((8, 8, 1))) * 0.6 + rng.integers(0, 64, (size_px, size_px, 3))
    y, x = np.mgrid[:size_px, :size_px] / size_px
    clip = []
    for t in range(frames):
        centre_x, centre_y = 0.3 + 0.4 * t / frames, 0.5 + 0.15 * np.sin(t / 3)
        inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 < 0.18**2
        stripes = 160 + 80 * np.sin(40 * (x - centre_x))[..., None] * np.array([1.0, -1.0, 0.3])
        flicker = rng.normal(0, 6, background.shape)
        frame = np.where(inside[..., None], stripes, np.roll(background, 2 * t, axis=1)) + flicker
        clip.append(np.clip(frame, 0, 255).astype(np.uint8))
    return np.stack(clip)


def normalised(frame_hwc: np.ndarray) -> Tensor:
    """[3, H, W] float32, ImageNet mean and deviation."""
    pixels = torch.from_numpy(frame_hwc).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(IMAGE_MEAN)[:, None, None]) / torch.tensor(IMAGE_STD)[:, None, None]
