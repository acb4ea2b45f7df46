"""What a prediction costs: mask, predicted IoU and object score (SAM 2 paper, section D.2.2).

Pure functions of logits and targets; does not know prompts or time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

CROSS_ENTROPY_WEIGHT, DICE_WEIGHT, IOU_WEIGHT = 3.0, 1.0, 1.0
EVERY_CANDIDATE_WEIGHT = 0.25


def weighted_cross_entropy(logits: torch.Tensor, target: torch.Tensor, balance: float) -> torch.Tensor:
    """Cross-entropy with soft targets, weighted mean over the last two axes.

    The paper's focal loss (alpha 0.25) collapses to empty masks when a small model starts from random weights.

    Args:
        balance: pixels of the object weigh (background / object) to this power: 1 gives both sides the same
            weight, 0 leaves the object its share of the pixels.
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


def mask_iou(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Hard IoU over the last two axes; 1 where both are empty."""
    predicted, true = logits > 0, target > 0.5
    union = (predicted | true).sum(dim=(-2, -1)).float()
    return torch.where(
        union > 0, (predicted & true).sum(dim=(-2, -1)) / union.clamp(min=1), torch.ones_like(union)
    )


def frame_loss(
    logits_bkhw: torch.Tensor,
    iou_bk: torch.Tensor,
    presence_b: torch.Tensor,
    target_bhw: torch.Tensor,
    visible_b: torch.Tensor,
    multimask: bool,
    balance: float,
    presence_weight: float = 1.0,
) -> torch.Tensor:
    """Loss of one frame, summed terms, mean over the objects.

    Candidate 0, or with `multimask` the best of the others, carries the mask loss; a small share of the mean
    over all candidates keeps every one of them alive. Mask and IoU terms are left out where the object is not
    visible.

    Args:
        logits_bkhw: ``[b, 4, h, w]`` mask candidates.
        iou_bk: their predicted IoUs.
        presence_b: object score logits.
        target_bhw: ``[b, h, w]`` share of each cell that the object covers, 0..1.
        visible_b: ``[b]`` bool.
        balance: see `weighted_cross_entropy`.
        presence_weight: of the object score's term.
    """
    target = target_bhw[:, None].expand_as(logits_bkhw)
    per_candidate = CROSS_ENTROPY_WEIGHT * weighted_cross_entropy(
        logits_bkhw, target, balance
    ) + DICE_WEIGHT * dice_loss(logits_bkhw, target)
    leading = per_candidate[:, 1:].min(dim=1).values if multimask else per_candidate[:, 0]
    mask_loss = leading + EVERY_CANDIDATE_WEIGHT * per_candidate.mean(dim=1)
    with torch.no_grad():
        true_iou = mask_iou(logits_bkhw, target)
    iou_loss = (iou_bk - true_iou).abs().mean(dim=1)
    visible = visible_b.float()
    presence_loss = F.binary_cross_entropy_with_logits(presence_b, visible)
    seen = (visible * (mask_loss + IOU_WEIGHT * iou_loss)).mean()
    return seen + presence_weight * presence_loss
