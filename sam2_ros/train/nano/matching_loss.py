# SPDX-License-Identifier: Apache-2.0
"""Matching loss: the masks that the dense matching memory copies from true masks should be the true ones.

Trains its keys, and the image features under them, cell by cell; the mask loss reaches them only through the decoder.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from sam2_ros.engine.model.matching import MatchFrames, MatchView
from sam2_ros.engine.model.sam2 import ImageFeatures, Sam2Model
from sam2_ros.train.data.batch import ClipBatch
from sam2_ros.train.losses import CROSS_ENTROPY_WEIGHT, dice_loss, weighted_cross_entropy

EVIDENCE_WEIGHTS = (1.0, 1.0, 0.5)  # of the masks by all frames, by the prompted one, by recent ones
LEAST = 2e-3  # shares are kept this far from 0 and 1: an exact copy of a soft mask needs no infinite logit
MIN_CELLS = 1.0  # covered by an object on a frame, else the frame does not count for it


def matching_loss(
    model: Sam2Model,
    features: ImageFeatures,
    batch: ClipBatch,
    frames: int,
    rng: np.random.Generator,
    balance: float,
) -> torch.Tensor:
    """Mean loss over some frames of every clip, and over their visible objects.

    The first frame is the prompted one; the frames before the current one are recent. As in the tracker, an object is
    not searched on frames on which it is not visible.

    Args:
        features: `rollout.encode_frames` of the batch.
        frames: number of frames of each clip that are matched.
        balance: see `losses.weighted_cross_entropy`.
    """
    assert features.keys is not None
    assert model.config.matching is not None
    keys_btnc = features.keys.unflatten(0, (-1, batch.frames))
    cover_tmhw = F.avg_pool2d(batch.cover_tmhw, 2)
    losses = []
    for clip, keys_tnc in enumerate(keys_btnc):
        own = batch.clip_m == clip
        cover, known = cover_tmhw[:, own], batch.visible_tm[:, own].t().float()
        flat = cover.flatten(2).transpose(0, 1)
        later = rng.permutation(np.arange(1, batch.frames))[:frames]
        for frame in map(int, later):
            before = slice(max(0, frame - model.config.matching.recents), frame)
            views = (
                MatchFrames(keys_tnc[part], flat[:, part], known[:, part]) for part in (slice(0, 1), before)
            )
            evidence = model.matching.read(keys_tnc[frame], MatchView(*views))
            losses.append(_loss(evidence, cover[frame], balance))
    return torch.stack(losses).mean()


def _loss(evidence_m6hw: torch.Tensor, cover_mhw: torch.Tensor, balance: float) -> torch.Tensor:
    seen = (cover_mhw.sum(dim=(1, 2)) > MIN_CELLS).float()
    total = evidence_m6hw.new_zeros(())
    for channel, weight in enumerate(EVIDENCE_WEIGHTS):
        share = ((evidence_m6hw[:, channel].float() + 1) / 2).clamp(LEAST, 1 - LEAST)
        logits = torch.logit(share)
        each = CROSS_ENTROPY_WEIGHT * weighted_cross_entropy(logits, cover_mhw, balance)
        each = each + dice_loss(logits, cover_mhw)
        total = total + weight * (each * seen).sum() / seen.sum().clamp(min=1)
    return total / sum(EVIDENCE_WEIGHTS)
