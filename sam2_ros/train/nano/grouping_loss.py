# SPDX-License-Identifier: Apache-2.0
"""Grouping loss: image features of one object should be similar, and differ from the rest.

Trains the image features directly, at every stride and across frames; the mask loss reaches them only through prompts
and memory, which this loss does not know. Its parameters are discarded after training.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.model.sam2 import ImageFeatures
from sam2_ros.train.losses import weighted_cross_entropy

EMBEDDING_CHANNELS = (16, 32, 64)  # strides 4, 8, 16
FIRST_SCALE = 8.0  # initial factor from cosine to logit
FIRST_THRESHOLD = 0.5


class GroupingLoss(nn.Module):
    """Compares every cell of every frame with the mean embedding of an object on the first frame."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.projections = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 1)
            for c_in, c_out in zip((d // 8, d // 4, d), EMBEDDING_CHANNELS, strict=True)
        )
        self.log_scale = nn.Parameter(torch.full((3,), math.log(FIRST_SCALE)))
        self.threshold = nn.Parameter(torch.full((3,), FIRST_THRESHOLD))

    def forward(
        self, features: ImageFeatures, cover_tmhw: torch.Tensor, b: int, balance: float
    ) -> torch.Tensor:
        """Mean cross-entropy over strides, frames and objects.

        Args:
            features: features of b clips of t frames, ``[b * t, c, h, w]`` each.
            cover_tmhw: ``[t, b * n, S / 4, S / 4]`` covered share of each cell, objects of clip 0 first. Every object
                is visible on frame 0.
            b: number of clips.
            balance: see `losses.weighted_cross_entropy`.
        """
        t, m = cover_tmhw.shape[:2]
        losses = []
        for level, (feature, projection) in enumerate(zip(features[:3], self.projections, strict=True)):
            embedding = F.normalize(projection(feature).float(), dim=1)
            embedding = embedding.unflatten(0, (b, t)).transpose(0, 1)  # [t, b, c, h, w]
            covered = F.adaptive_avg_pool2d(cover_tmhw, embedding.shape[-2:]).unflatten(1, (b, m // b))
            weight = covered[0] / covered[0].sum(dim=(-2, -1), keepdim=True).clamp(min=1e-4)
            looks = F.normalize(torch.einsum("bchw,bnhw->bnc", embedding[0], weight), dim=-1)
            cosine = torch.einsum("tbchw,bnc->tbnhw", embedding, looks)
            logits = self.log_scale[level].exp() * (cosine - self.threshold[level])
            losses.append(weighted_cross_entropy(logits, covered, balance).mean())
        return torch.stack(losses).mean()
