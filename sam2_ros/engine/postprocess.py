"""From low-resolution logits to masks at the frame's size, and what can be read off a mask.

Pure functions; does not know objects or time.
"""

from __future__ import annotations

import numpy as np
import torch

from .mask_decoder import upsample_logits


def masks_at_frame(logits_b1hw: torch.Tensor, height_px: int, width_px: int) -> np.ndarray:
    """Threshold logits at 0 after bilinear up-sampling to the frame: ``[b, H, W]`` bool, copied to the host once."""
    return (upsample_logits(logits_b1hw, (height_px, width_px))[:, 0] > 0).cpu().numpy()


def measure(mask_hw: np.ndarray) -> tuple[tuple[int, int, int, int], int, tuple[float, float]]:
    """Tight half-open box, area in pixels and centroid (x, y) of a mask; zeros when it is empty."""
    per_row, per_column = mask_hw.sum(axis=1), mask_hw.sum(axis=0)
    area = int(per_row.sum())
    if area == 0:
        return (0, 0, 0, 0), 0, (0.0, 0.0)
    rows, columns = np.flatnonzero(per_row), np.flatnonzero(per_column)
    centroid = (
        float((per_column * np.arange(len(per_column))).sum() / area),
        float((per_row * np.arange(len(per_row))).sum() / area),
    )
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1), area, centroid
