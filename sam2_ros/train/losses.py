"""What the masks, predicted IoUs and object score of one answer cost (SAM 2 paper, section D.2.2).

Pure functions; sums over objects, so that a batch of few objects weighs less than one of many.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from sam2_ros.engine.model.mask_decoder import DecodedMasks, upsample_logits

from .nano.losses import CROSS_ENTROPY_WEIGHT, dice_loss, mask_iou, weighted_cross_entropy

FOCAL_WEIGHT, FOCAL_ALPHA, FOCAL_GAMMA = 20.0, 0.25, 2.0
TERMS = ("mask", "dice", "iou", "presence")


def focal_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Focal loss (arXiv 1708.02002, equation 5) with targets 0 or 1, mean over the last two axes."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    miss = probability + target - 2 * probability * target
    alpha = FOCAL_ALPHA * target + (1 - FOCAL_ALPHA) * (1 - target)
    return (alpha * miss**FOCAL_GAMMA * cross_entropy).mean(dim=(-2, -1))


def answer_loss(
    decoded: DecodedMasks, mask_mhw: torch.Tensor, visible_m: torch.Tensor, multimask: bool, mask_loss: str
) -> torch.Tensor:
    """The four `TERMS`, weighted, each summed over the objects: ``[4]``.

    Candidate 0, or with `multimask` the best of candidates 1 to 3, carries the mask terms; every candidate that was
    asked for carries the IoU term. All three are left out where the object does not show. Unlike in the official
    code, logits are not set to -1024 first where the object is judged absent: a wrong "absent" would leave its
    mask without a gradient.

    Args:
        mask_mhw: ``[m, S, S]`` bool at the input's size, to which the logits are brought.
        mask_loss: "focal" or "balanced".
    """
    asked = slice(1, 4) if multimask else slice(0, 1)
    size = (mask_mhw.shape[-2], mask_mhw.shape[-1])
    logits = upsample_logits(decoded.logits_b4hw[:, asked], size)
    target = mask_mhw[:, None].float().expand_as(logits)
    if mask_loss == "focal":
        mask = FOCAL_WEIGHT * focal_loss(logits, target)
    else:
        mask = CROSS_ENTROPY_WEIGHT * weighted_cross_entropy(logits, target, 1.0)
    dice = dice_loss(logits, target)
    best = (mask + dice).detach().argmin(dim=1, keepdim=True)
    with torch.no_grad():
        true_iou = mask_iou(logits, target)
    iou = (decoded.iou_b4[:, asked].float() - true_iou).abs().mean(dim=1)
    visible = visible_m.float()
    presence = F.binary_cross_entropy_with_logits(decoded.presence_b.float(), visible, reduction="sum")
    seen = [(visible * term).sum() for term in (mask.gather(1, best)[:, 0], dice.gather(1, best)[:, 0], iou)]
    return torch.stack([*seen, presence])
