# SPDX-License-Identifier: Apache-2.0
"""Distillation: the trained model learns to reproduce the masks and image features of a frozen teacher model.

Knows models and batches; does not know how the trained model is run.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.model.prompt_encoder import BOX_MAX, BOX_MIN
from sam2_ros.engine.model.sam2 import ImageFeatures, Sam2Model
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.train.data.batch import ClipBatch
from sam2_ros.train.rollout import features_of


class Teacher:
    """Frozen model that predicts masks on every frame from the true box, without memory."""

    def __init__(self, model: Sam2Model) -> None:
        self.model = model.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, images_bt3hw: torch.Tensor) -> ImageFeatures:
        """The teacher's features of every frame, ``[b * t, c, h, w]`` each, from images of any size."""
        return self.model.encode_image(resized(images_bt3hw.flatten(0, 1), self.model.config.image_size))

    @torch.no_grad()
    def mask_logits(self, features: ImageFeatures, batch: ClipBatch, frame: int) -> torch.Tensor:
        """The teacher's mask logits on one frame, ``[m, h, w]``; meaningless for hidden objects."""
        masks, here = batch.masks_tmhw[frame], features_of(features, batch, frame)
        boxes = tight_boxes(masks) * (self.model.config.image_size / masks.shape[-1])
        labels = torch.tensor([BOX_MIN, BOX_MAX], device=masks.device).expand(len(boxes), -1)
        decoded = self.model.decode(self.model.without_memory(here.s16), here, boxes, labels)
        return decoded.logits_b4hw[:, 0].float()


class FeatureBridge(nn.Module):
    """A linear map from the trained model's stride-16 features to the teacher's; discarded after training."""

    def __init__(self, student: ModelConfig, teacher: ModelConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(student.d_model, teacher.d_model, 1)

    def forward(self, ours: ImageFeatures, theirs: ImageFeatures) -> torch.Tensor:
        """Mean squared difference divided by the variance of the teacher's features, on the coarser of both grids."""
        side = min(ours.s16.shape[-1], theirs.s16.shape[-1])
        guess = F.adaptive_avg_pool2d(self.projection(ours.s16).float(), side)
        wanted = F.adaptive_avg_pool2d(theirs.s16.float(), side)
        return F.mse_loss(guess, wanted) / wanted.var().clamp(min=1e-6)


def mask_distillation_loss(
    ours_mhw: torch.Tensor, theirs_mhw: torch.Tensor, visible_m: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy with the teacher's soft mask on the trained model's grid, summed over the visible objects."""
    theirs = F.interpolate(
        theirs_mhw[:, None], ours_mhw.shape[-2:], mode="bilinear", align_corners=False, antialias=True
    )[:, 0]
    each = F.binary_cross_entropy_with_logits(ours_mhw, theirs.sigmoid(), reduction="none").mean(dim=(1, 2))
    return (each * visible_m).sum()


def tight_boxes(masks_mhw: torch.Tensor) -> torch.Tensor:
    """Upper left and lower right corners ``[m, 2, 2]`` in pixels; of an empty mask, those of the whole image."""
    height, width = masks_mhw.shape[1:]
    boxes = [tight_box(mask) if mask.any() else (0, 0, width, height) for mask in masks_mhw.cpu().numpy()]
    return torch.tensor(boxes, dtype=torch.float32, device=masks_mhw.device).view(-1, 2, 2)


def resized(images_b3hw: torch.Tensor, size: int) -> torch.Tensor:
    """Resizes normalised images to ``[b, 3, size, size]``."""
    if images_b3hw.shape[-1] == size:
        return images_b3hw
    return F.interpolate(images_b3hw, (size, size), mode="bilinear", align_corners=False, antialias=True)
