"""Prompts drawn from true masks, as a user or a detector would give them (SAM 2 paper, section D.2.2).

Does not know the model; coordinates are pixels of its input.
"""

from __future__ import annotations

import numpy as np
import torch

from sam2_ros.engine.prompt_encoder import BOX_MAX, BOX_MIN, POSITIVE

KINDS = ("box", "click", "mask")
KIND_SHARES = (0.8, 0.1, 0.1)
BOX_JITTER = 0.1
BOX_JITTER_LIMIT_PX = 20.0


def draw_kind(rng: np.random.Generator) -> str:
    return str(rng.choice(KINDS, p=KIND_SHARES))


def simulate_boxes(rng: np.random.Generator, masks_bhw: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Tight boxes, each corner off by up to 10 % of the side: points ``[b, 2, 2]`` and their labels."""
    corners = np.zeros((len(masks_bhw), 2, 2), np.float32)
    height, width = masks_bhw.shape[1:]
    for box, mask in zip(corners, masks_bhw, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        reach = np.minimum(BOX_JITTER * np.array([x1 - x0, y1 - y0]), BOX_JITTER_LIMIT_PX)
        box[:] = np.array([[x0, y0], [x1, y1]]) + rng.uniform(-1, 1, (2, 2)) * reach
    points = torch.from_numpy(np.clip(corners, 0, [width, height]).astype(np.float32))
    return points, torch.tensor([[BOX_MIN, BOX_MAX]]).expand(len(points), -1)


def simulate_clicks(rng: np.random.Generator, masks_bhw: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """One positive click anywhere on each object: points ``[b, 1, 2]`` and their labels."""
    clicks = np.zeros((len(masks_bhw), 1, 2), np.float32)
    for click, mask in zip(clicks, masks_bhw, strict=True):
        ys, xs = np.nonzero(mask)
        chosen = rng.integers(len(xs))
        click[0] = xs[chosen], ys[chosen]
    return torch.from_numpy(clicks), torch.full((len(clicks), 1), POSITIVE)
