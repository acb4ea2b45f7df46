# SPDX-License-Identifier: Apache-2.0
"""Mask decoder: computes masks, their predicted IoUs and an object score from prompt tokens and image features.

SAM paper, section A, with the high-resolution features and the object score of SAM 2 (section 4). Does not know time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.kernels.layers import MLP, LayerNorm2d

from .two_way import TwoWayTransformer

STABILITY_DELTA = 0.05  # logits
STABILITY_THRESHOLD = 0.98  # stability from which a single mask is kept, see `mask_stability`


class DecodedMasks(NamedTuple):
    """All four candidates: 0 is for a clear prompt, 1..3 are the interpretations of an ambiguous one."""

    logits_b4hw: torch.Tensor  # [b, 4, 4 side, 4 side] mask logits, at stride 4
    iou_b4: torch.Tensor  # [b, 4] predicted IoU, 0..1
    tokens_b4c: torch.Tensor  # [b, 4, d_model] mask tokens
    presence_b: torch.Tensor  # [b] object score logit, above 0 = visible


class MaskDecoder(nn.Module):
    """``[b, d_model, side, side]`` features and prompts -> `DecodedMasks`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, hidden = config.d_model, config.head_hidden
        self.transformer = TwoWayTransformer(d, config.mask_decoder_heads, config.mask_decoder_ffn)
        self.iou_token = nn.Embedding(1, d)
        self.mask_tokens = nn.Embedding(4, d)
        self.obj_score_token = nn.Embedding(1, d)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(d, d // 4, 2, stride=2),
            LayerNorm2d(d // 4),
            nn.GELU(),
            nn.ConvTranspose2d(d // 4, d // 8, 2, stride=2),
            nn.GELU(),
        )
        self.conv_s0 = nn.Conv2d(d, d // 8, 1)
        self.conv_s1 = nn.Conv2d(d, d // 4, 1)
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(d, d, d // 8, 3) for _ in range(4))
        self.iou_prediction_head = MLP(d, hidden, 4, 3)
        self.pred_obj_score_head = MLP(d, d, 1, 3)

    def forward(
        self,
        image_bchw: torch.Tensor,
        image_pos_1chw: torch.Tensor,
        sparse_bnc: torch.Tensor,
        dense_bchw: torch.Tensor,
        s8_bchw: torch.Tensor,
        s4_bchw: torch.Tensor,
        sparse_bias_bn: torch.Tensor | None = None,
    ) -> DecodedMasks:
        """Decode a batch of objects or prompts.

        Args:
            image_bchw: ``[1 or b, d_model, side, side]`` features after memory attention.
            image_pos_1chw: ``[1, d_model, side, side]`` positions of the cells.
            sparse_bnc: ``[b, n, d_model]`` prompt tokens.
            dense_bchw: ``[1 or b, d_model, side, side]`` dense prompt.
            s8_bchw: ``[1 or b, d_model / 4, 2 side, 2 side]``, after `conv_s1`.
            s4_bchw: ``[1 or b, d_model / 8, 4 side, 4 side]``, after `conv_s0`.
            sparse_bias_bn: ``[b, n]``: 0, or `attention.NOT_THERE` for padding; None = no padding.
        """
        b, side = len(sparse_bnc), image_bchw.shape[-1]
        own = torch.cat([self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(b, -1, -1), sparse_bnc], dim=1)
        bias = None if sparse_bias_bn is None else F.pad(sparse_bias_bn, (len(own), 0))[:, None, None]
        tokens, image = self.transformer(image_bchw + dense_bchw, image_pos_1chw, tokens, bias)
        score_token, iou_token, mask_tokens = tokens[:, 0], tokens[:, 1], tokens[:, 2:6]

        deconv1, norm, act1, deconv2, act2 = self.output_upscaling
        up = image.transpose(1, 2).reshape(b, -1, side, side)
        up = act1(norm(deconv1(up) + s8_bchw))
        up = act2(deconv2(up) + s4_bchw)
        weights = [mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        logits = (torch.stack(weights, dim=1) @ up.flatten(2)).view(b, 4, 4 * side, 4 * side)
        return DecodedMasks(
            logits,
            self.iou_prediction_head(iou_token).sigmoid(),
            mask_tokens,
            self.pred_obj_score_head(score_token)[:, 0],
        )


class ChosenMask(NamedTuple):
    """The chosen candidate of each object; shapes as in `DecodedMasks`."""

    logits_b1hw: torch.Tensor
    iou_b: torch.Tensor
    token_bc: torch.Tensor


def choose_mask(decoded: DecodedMasks, multimask: bool, stability_fallback: bool) -> ChosenMask:
    """Choose one candidate per object, as the official video predictor does.

    Args:
        decoded: the candidates.
        multimask: True = the candidate of 1..3 with the highest predicted IoU; False = candidate 0.
        stability_fallback: with `multimask=False`, use the best of candidates 1..3 for a mask whose area changes by
            more than 2 % between the thresholds -0.05 and +0.05; the token stays that of candidate 0.
    """
    rows = torch.arange(len(decoded.iou_b4), device=decoded.iou_b4.device)
    best = 1 + decoded.iou_b4[:, 1:].argmax(dim=1)
    if multimask:
        return ChosenMask(
            decoded.logits_b4hw[rows, best][:, None],
            decoded.iou_b4[rows, best],
            decoded.tokens_b4c[rows, best],
        )
    index = torch.zeros_like(best)
    if stability_fallback:
        index = torch.where(mask_stability(decoded.logits_b4hw[:, 0]) >= STABILITY_THRESHOLD, index, best)
    return ChosenMask(
        decoded.logits_b4hw[rows, index][:, None], decoded.iou_b4[rows, index], decoded.tokens_b4c[:, 0]
    )


def mask_stability(logits_bhw: torch.Tensor) -> torch.Tensor:
    """Stability of masks, ``[b]``: area above +0.05 over area above -0.05; 1 for a mask that is empty at both."""
    flat = logits_bhw.flatten(1)
    inner = (flat > STABILITY_DELTA).sum(dim=1).float()
    outer = (flat > -STABILITY_DELTA).sum(dim=1).float()
    return torch.where(outer > 0, inner / outer.clamp(min=1), torch.ones_like(outer))


def upsample_logits(logits_b1hw: torch.Tensor, hw: tuple[int, int]) -> torch.Tensor:
    """Upsample logits to a size (height, width): bilinear, in float32, as everywhere in SAM 2."""
    return F.interpolate(logits_b1hw.float(), hw, mode="bilinear", align_corners=False)
