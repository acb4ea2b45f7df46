# SPDX-License-Identifier: Apache-2.0
"""Optimisers of the recipe: Muon for matrices, AdamW for the rest.

Knows shapes of parameters; does not know the schedule.
"""

from __future__ import annotations

import torch
from torch import nn

from sam2_ros.engine.model.image_encoder import ImageEncoder
from sam2_ros.engine.model.matching import Matching

from .recipe import NanoConfig

FAST_RATE = 30.0  # of the scales of the matching memory, which would hardly change in a thousand steps


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
    fast = [p for m in model.modules() if isinstance(m, Matching) for p in (m.scale, m.log_falloff)]
    chosen = {id(p) for p in (*matrices, *kernels, *slow, *fast)}
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
            *(
                {"params": parameters, "rate": rate, "weight_decay": 0.0}
                for parameters, rate in ((slow, config.pretrained_rate), (fast, FAST_RATE))
                if parameters
            ),
        ],
        betas=(0.9, 0.95),
    )
    return [muon, adamw]
