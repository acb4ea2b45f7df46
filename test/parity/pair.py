# SPDX-License-Identifier: Apache-2.0
"""Builds the model of sam2_ros from seeded weights, and measures the difference of two results.

Runs no model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine.config import TINY, ModelConfig, config_for
from sam2_ros.engine.model.sam2 import Sam2Model

# Another order of rounding differs by less than 1e-4 here (storing memories in bfloat16 amplifies it); a different
# computation by 5e-3 and more. See the mutants in test_video.py.
TOLERANCE = 1e-3


def tiny_config(image_size_px: int, version: str = "2.1") -> ModelConfig:
    return config_for(TINY.name, version).at_image_size(image_size_px)


def official_weights(seed: int, presence_bias: float = 0.0, version: str = "2.1") -> dict[str, Tensor]:
    """Every tensor of tiny, filled by key."""
    with torch.device("meta"):
        shapes = Sam2Model(config_for(TINY.name, version)).state_dict()
    return fill_by_key(shapes, seed, presence_bias)


def our_model(weights: dict[str, Tensor], image_size_px: int, version: str = "2.1") -> Sam2Model:
    model = Sam2Model(tiny_config(image_size_px, version)).eval()
    model.load_state_dict(weights, strict=True)
    return model


def relative_error(ours: Tensor, reference: Tensor) -> float:
    """rms(difference) / rms(reference)."""
    assert ours.shape == reference.shape, f"ours is {list(ours.shape)}, the reference {list(reference.shape)}"
    difference = (ours.double() - reference.double()).pow(2).mean().sqrt()
    return float(difference / reference.double().pow(2).mean().sqrt())


def rms(tensor: Tensor) -> float:
    return float(tensor.double().pow(2).mean().sqrt())
