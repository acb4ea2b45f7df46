# SPDX-License-Identifier: Apache-2.0
"""Models with seeded random weights, for tests that need no meaningful masks."""

from __future__ import annotations

import torch

from sam2_ros.engine import ModelConfig, Sam2Model


def random_model(config: ModelConfig, seed: int = 0) -> Sam2Model:
    """A model in evaluation mode, without gradients."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Sam2Model(config).eval().requires_grad_(False)
