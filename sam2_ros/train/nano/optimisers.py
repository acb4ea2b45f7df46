# SPDX-License-Identifier: Apache-2.0
"""Optimisers of the recipe: Muon for matrices, AdamW for the rest.

Knows shapes of parameters; does not know the schedule.
"""

from __future__ import annotations

import torch
from torch import nn

from sam2_ros.engine.model.image_encoder import ImageEncoder

from .recipe import NanoConfig


def make_optimisers(model: nn.Module, config: NanoConfig) -> list[torch.optim.Optimizer]:
    """Muon (Keller Jordan, 2024) for the matrices of hidden layers, AdamW for the rest.

    No weight decay for biases, norms, embeddings and tables. Every group has a "rate", a factor on the learning rate of
    a step.

    Raises RuntimeError if this torch has no Muon.
    """
    if not hasattr(torch.optim, "Muon"):
        raise RuntimeError(f"torch {torch.__version__} has no Muon optimiser: training needs torch >= 2.9")
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = [
        p for p in model.parameters() if p.dim() == 2 and min(p.shape) > 1 and id(p) not in embeddings
    ]
    slow = [
        p
        for encoder in model.modules()
        if isinstance(encoder, ImageEncoder)
        for name, p in encoder.named_parameters()
        if encoder.is_pretrained(name)
    ]
    convolutions = (nn.Conv2d, nn.ConvTranspose2d)
    kernels = [m.weight for m in model.modules() if isinstance(m, convolutions)]
    kernels = [p for p in kernels if id(p) not in {id(p) for p in slow}]
    chosen = {id(p) for p in (*matrices, *kernels, *slow)}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(
        [{"params": matrices, "rate": config.matrix_rate}],
        weight_decay=config.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(
        [
            {"params": kernels, "rate": 1.0, "weight_decay": config.weight_decay},
            {"params": rest, "rate": 1.0, "weight_decay": 0.0},
            *([{"params": slow, "rate": config.pretrained_rate, "weight_decay": 0.0}] if slow else []),
        ],
        betas=(0.9, 0.95),
    )
    return [muon, adamw]
