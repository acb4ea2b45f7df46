# SPDX-License-Identifier: Apache-2.0
"""Parameter groups with layer-wise decay of the learning rate, and the learning rate schedule.

Knows names of parameters; does not know losses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from sam2_ros.engine.model.image_encoder import PREFIX, ImageEncoder
from sam2_ros.engine.model.sam2 import Sam2Model

from ..train_config import SIZES, FinetuneConfig, SizeDefaults

# The parameters of `Sam2Model.encode_image`: frozen together, so that features can be cached.
ENCODER = ("image_encoder.", "sam_mask_decoder.conv_s0.", "sam_mask_decoder.conv_s1.", "matching.key_")


def rates_of(config: FinetuneConfig, size: str) -> SizeDefaults:
    """The configured rates; rates of 0 are replaced by the defaults of the model size."""
    default = SIZES.get(size, SIZES["tiny"])
    return SizeDefaults(
        config.learning_rate or default.learning_rate,
        config.encoder_rate or default.encoder_rate,
        config.layer_decay or default.layer_decay,
    )


def freeze(model: Sam2Model, encoder: bool) -> None:
    """Makes all parameters trainable, except the image encoder's if `encoder` is True."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not (encoder and name.startswith(ENCODER)))


def make_optimiser(
    model: Sam2Model, extra: Iterable[nn.Parameter], config: FinetuneConfig, rates: SizeDefaults
) -> torch.optim.AdamW:
    """AdamW with one group per learning rate and weight decay. "peak" of a group: its rate when the schedule is 1.

    No weight decay for biases, norms, embeddings and learned tables.

    Args:
        extra: further parameters, at the learning rate of the model outside the encoder.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            table = id(parameter) in embeddings or "." not in name or "pos_embed" in name
            key = (_peak(name, model.trunk, rates), parameter.dim() > 1 and not table)
            groups.setdefault(key, []).append(parameter)
    for parameter in extra:
        groups.setdefault((rates.learning_rate, parameter.dim() > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": params,
                "lr": 0.0,
                "peak": peak,
                "weight_decay": config.weight_decay if decays else 0.0,
            }
            for (peak, decays), params in groups.items()
        ]
    )


def _peak(name: str, encoder: ImageEncoder, rates: SizeDefaults) -> float:
    """Peak rate of a parameter; in layer i of n of the encoder: encoder_rate * layer_decay^(n - 1 - i)."""
    if not name.startswith("image_encoder."):
        return rates.learning_rate
    layer = encoder.layer_of(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    if layer is None:
        return rates.encoder_rate
    return rates.encoder_rate * rates.layer_decay ** (encoder.layer_count - 1 - layer)


def share_at(step: int, config: FinetuneConfig) -> float:
    """Share of the peak rate at a step: linear warm-up, then a cosine to `final_share`."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def set_rates(optimiser: torch.optim.Optimizer, share: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share
