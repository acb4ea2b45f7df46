# SPDX-License-Identifier: Apache-2.0
"""Two-way transformer: tokens attend to the image and the image attends to tokens (SAM paper, section A).

Knows token sequences. Does not know what a token means.
"""

from __future__ import annotations

import torch
from torch import nn

from sam2_ros.engine.kernels.attention import Attention
from sam2_ros.engine.kernels.layers import MLP


class TwoWayLayer(nn.Module):
    """Token self-attention, token-to-image attention, MLP, image-to-token attention; post-norm."""

    def __init__(self, dim: int, num_heads: int, ffn: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, num_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, num_heads, downsample=2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, ffn, dim, 2)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, num_heads, downsample=2)

    def forward(
        self,
        tokens_bnc: torch.Tensor,
        image_bmc: torch.Tensor,
        token_pos_bnc: torch.Tensor,
        image_pos_bmc: torch.Tensor,
        token_bias_b11n: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.first:  # the tokens equal their positions here, so none are added and there is no residual
            tokens = self.self_attn(tokens_bnc, tokens_bnc, tokens_bnc, token_bias_b11n)
        else:
            q = tokens_bnc + token_pos_bnc
            tokens = tokens_bnc + self.self_attn(q, q, tokens_bnc, token_bias_b11n)
        tokens = self.norm1(tokens)
        image_key = image_bmc + image_pos_bmc
        tokens = self.norm2(
            tokens + self.cross_attn_token_to_image(tokens + token_pos_bnc, image_key, image_bmc)
        )
        tokens = self.norm3(tokens + self.mlp(tokens))
        attended = self.cross_attn_image_to_token(image_key, tokens + token_pos_bnc, tokens, token_bias_b11n)
        return tokens, self.norm4(image_bmc + attended)


class TwoWayTransformer(nn.Module):
    """Two layers and a final token-to-image attention."""

    def __init__(self, dim: int, num_heads: int, ffn: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(dim, num_heads, ffn, first=index == 0) for index in range(2))
        self.final_attn_token_to_image = Attention(dim, num_heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self,
        image_bchw: torch.Tensor,
        image_pos_1chw: torch.Tensor,
        tokens_bnc: torch.Tensor,
        token_bias_b11n: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Update tokens and image by attention in both directions.

        Args:
            image_bchw: ``[1 or b, c, h, w]``; batch 1 for many prompts on one image: a third of the work on the image
                is then done once.
            image_pos_1chw: ``[1, c, h, w]`` positions of the image's cells.
            tokens_bnc: ``[b, n, c]``; they serve as their own positions.
            token_bias_b11n: ``[b, 1, 1, n]``, added to the scores of tokens as keys, see `attend`; None = 0.

        Returns:
            Tokens ``[b, n, c]`` and image ``[b, h * w, c]``.
        """
        image = image_bchw.flatten(2).transpose(1, 2)
        image_pos = image_pos_1chw.flatten(2).transpose(1, 2)
        tokens = tokens_bnc
        for layer in self.layers:
            tokens, image = layer(tokens, image, tokens_bnc, image_pos, token_bias_b11n)
        attended = self.final_attn_token_to_image(tokens + tokens_bnc, image + image_pos, image)
        return self.norm_final_attn(tokens + attended), image
