# SPDX-License-Identifier: Apache-2.0
"""Losses of one prediction: mask, Dice, predicted IoU and object score (SAM 2 paper, section D.2.2).

Pure functions of logits and targets, summed over objects, so that a batch weighs by its number of objects. Does not
know prompts or time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from sam2_ros.engine.model.mask_decoder import DecodedMasks, upsample_logits

TERMS = ("mask", "dice", "iou", "presence")
CROSS_ENTROPY_WEIGHT = 3.0
FOCAL_WEIGHT, FOCAL_ALPHA, FOCAL_GAMMA = 20.0, 0.25, 2.0


@dataclass(frozen=True)
class LossConfig:
    """Settings of the losses.

    Attributes:
        mask: "focal" (times 20), as SAM 2, or "balanced" (`weighted_cross_entropy` times 3), as nano from scratch.
        balance: argument of `weighted_cross_entropy`.
        full_size: True: logits are upsampled to the input's size and compared with the mask. False: they are compared
            with the share of each cell that the object covers.
        every_candidate: weight of the mean over all four candidates, which is added to the mask terms of the chosen
            one, so that every candidate is trained. The predicted IoUs of all four are then trained too.
        presence: weight of the object score's term.
    """

    mask: str = "focal"
    balance: float = 1.0
    full_size: bool = True
    every_candidate: float = 0.0
    presence: float = 1.0


def answer_loss(
    decoded: DecodedMasks,
    target_mhw: torch.Tensor,
    visible_m: torch.Tensor,
    multimask: bool,
    config: LossConfig,
) -> torch.Tensor:
    """The four `TERMS`, weighted, each summed over the objects: ``[4]``.

    The mask terms are those of candidate 0, or with `multimask` of the best of candidates 1 to 3; the IoU term is the
    mean over the requested candidates. All three are omitted for hidden objects. Unlike in the official code, logits of
    an object predicted absent are not set to -1024 before: after a wrong "absent", its mask would have no gradient.

    Args:
        target_mhw: ``[m, S, S]`` bool at the input's size, or ``[m, S / 4, S / 4]`` covered share of each cell, 0..1.
        visible_m: ``[m]`` bool.
    """
    asked = slice(1, 4) if multimask else slice(0, 1)
    scored = slice(0, 4) if config.every_candidate else asked
    logits = decoded.logits_b4hw[:, scored].float()
    if logits.shape[-2:] != target_mhw.shape[-2:]:
        logits = upsample_logits(logits, (target_mhw.shape[-2], target_mhw.shape[-1]))
    target = target_mhw[:, None].float().expand_as(logits)
    if config.mask == "focal":
        mask = FOCAL_WEIGHT * focal_loss(logits, target)
    else:
        mask = CROSS_ENTROPY_WEIGHT * weighted_cross_entropy(logits, target, config.balance)
    dice = dice_loss(logits, target)
    leaders = asked if config.every_candidate else slice(None)
    best = (mask + dice).detach()[:, leaders].argmin(dim=1, keepdim=True) + (leaders.start or 0)
    with torch.no_grad():
        true_iou = logits_iou(logits, target)
    iou = (decoded.iou_b4[:, scored].float() - true_iou).abs().mean(dim=1)
    visible = visible_m.float()
    leading = [
        term.gather(1, best)[:, 0] + config.every_candidate * term.mean(dim=1) for term in (mask, dice)
    ]
    seen = [(visible * term).sum() for term in (*leading, iou)]
    presence = F.binary_cross_entropy_with_logits(decoded.presence_b.float(), visible, reduction="sum")
    return torch.stack([*seen, config.presence * presence])


def focal_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Focal loss (arXiv 1708.02002, equation 5) with targets 0 or 1, mean over the last two axes."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    miss = probability + target - 2 * probability * target
    alpha = FOCAL_ALPHA * target + (1 - FOCAL_ALPHA) * (1 - target)
    return (alpha * miss**FOCAL_GAMMA * cross_entropy).mean(dim=(-2, -1))


def weighted_cross_entropy(logits: torch.Tensor, target: torch.Tensor, balance: float) -> torch.Tensor:
    """Cross-entropy with soft targets, weighted mean over the last two axes.

    The paper's focal loss (alpha 0.25) collapses to empty masks when a small model starts from random weights.

    Args:
        balance: weight of object pixels = (background / object) to this power. 1: object and background have equal
            weight. 0: all pixels have equal weight.
    """
    share = target.mean(dim=(-2, -1), keepdim=True).clamp(min=1e-4)
    object_weight = ((1 - share) / share).clamp(min=1.0) ** balance
    weight = 1 + (object_weight - 1) * target
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * cross_entropy).sum(dim=(-2, -1)) / weight.sum(dim=(-2, -1))


def dice_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - soft Dice over the last two axes, smoothed by 1."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum(dim=(-2, -1))
    total = probability.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1))
    return 1 - (2 * overlap + 1) / (total + 1)


def logits_iou(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """IoU of the thresholded masks over the last two axes; 1 if both are empty."""
    predicted, true = logits > 0, target > 0.5
    union = (predicted | true).sum(dim=(-2, -1)).float()
    return torch.where(
        union > 0, (predicted & true).sum(dim=(-2, -1)) / union.clamp(min=1), torch.ones_like(union)
    )
