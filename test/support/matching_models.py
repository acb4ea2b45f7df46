# SPDX-License-Identifier: Apache-2.0
"""Models with a matching memory and seeded random weights, every one of which changes the result; and moving scenes."""

from __future__ import annotations

import numpy as np

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import Sam2Model, config_for

RIVALS = 3  # channel of the evidence


def matching_model(image_size: int = 128, presence_bias: float = 3.0, rivals: bool = True) -> Sam2Model:
    """nano in evaluation mode, without gradients; without `rivals`, what other objects match does not count."""
    model = Sam2Model(config_for("nano").at_image_size(image_size)).eval().requires_grad_(False)
    first = {name: value.clone() for name, value in model.matching.state_dict().items()}
    model.load_state_dict(fill_by_key(model.state_dict(), presence_bias=presence_bias))
    for name in ("scale", "log_falloff"):
        getattr(model.matching, name).copy_(first[name])
    if not rivals:
        model.matching.embed[0].weight[:, RIVALS] = 0.0
    return model


def moving_boxes(count: int, size: int = 128, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two boxes of noise on a ground of noise: frames ``[t, size, size, 3]`` uint8, masks ``[t, 2, size, size]``."""
    rng = np.random.default_rng(seed)
    ground, side = rng.integers(0, 110, (size, size, 3), np.uint8), size // 4
    boxes = rng.integers(120, 255, (2, side, side, 3), np.uint8)
    frames, masks = np.repeat(ground[None], count, axis=0), np.zeros((count, 2, size, size), bool)
    for t in range(count):
        for n, (y, x) in enumerate(((size // 8 + 2 * t, size // 8), (size // 2, size // 2 + 2 * t))):
            frames[t, y : y + side, x : x + side] = boxes[n]
            masks[t, n, y : y + side, x : x + side] = True
    return frames, masks
