# SPDX-License-Identifier: Apache-2.0
"""Memory attention: the current frame's features attend to memories and object pointers (SAM 2 paper, section 4).

A pure function of tokens. Does not know which frames the memories come from, how they are stored, or how attention is
computed.
"""

from __future__ import annotations

import torch
from torch import nn

from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.kernels.attention import Attention, attend
from sam2_ros.engine.kernels.layers import Linear, feed_forward
from sam2_ros.engine.kernels.rope import Rope, axial_rope, sine_grid


class RopeAttention(Attention):
    """Single-head attention with rotary position embedding on the queries and on the spatial part of the keys."""

    def forward(  # type: ignore[override]
        self,
        q_bnc: torch.Tensor,
        k_bmc: torch.Tensor,
        v_bmc: torch.Tensor,
        rope: Rope,
        bias_b11m: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend from queries ``[1 or b, n, c]`` to keys and values ``[b, m, ck]``; returns ``[b, n, c]``.

        `rope` and `bias_b11m`: see `kernels.attention.attend`.
        """
        q, k = self.q_proj(q_bnc)[:, None], self.k_proj(k_bmc)[:, None]
        found = attend(q, k, v_bmc[:, None], bias_b11m, rope, project_values=self.v_proj)
        return self.out_proj(found[:, 0])


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention to memory, feed-forward network; pre-norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.self_attn = RopeAttention(d, 1)
        self.cross_attn_image = RopeAttention(d, 1, kv_dim=config.mem_dim)
        self.linear1 = Linear(d, config.memory_attention_ffn)
        self.linear2 = Linear(config.memory_attention_ffn, d)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.norm3 = nn.LayerNorm(d)

    def forward(
        self,
        x_bnc: torch.Tensor,
        keys_bmc: torch.Tensor,
        memory_bmc: torch.Tensor,
        own_rope: Rope,
        memory_rope: Rope,
        memory_bias_b11m: torch.Tensor | None,
    ) -> torch.Tensor:
        y = self.norm1(x_bnc)
        x = x_bnc + self.self_attn(y, y, y, own_rope)
        x = x + self.cross_attn_image(self.norm2(x), keys_bmc, memory_bmc, memory_rope, memory_bias_b11m)
        return x + feed_forward(self.norm3(x), self.linear1, self.linear2)


class MemoryAttention(nn.Module):
    """A stack of layers over the memories of one object or of a batch of objects."""

    half_split = False  # rotary layout of the projections' channels, see `kernels.rope.half_split_order`

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.d_model, self.grid = config.d_model, config.grid
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(config) for _ in range(config.memory_attention_layers)
        )
        self.norm = nn.LayerNorm(config.d_model)

    def forward(
        self,
        feats_bchw: torch.Tensor,
        memory_bmc: torch.Tensor,
        memory_pos_bmc: torch.Tensor,
        pointer_tokens: int,
        pooling: int = 1,
        memory_bias_b11m: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Fuse memory into features.

        Args:
            feats_bchw: ``[1 or b, d_model, side, side]`` features at stride 16; batch 1 for several objects on one
                frame: the first layer's self-attention is then computed once.
            memory_bmc: ``[b, m, mem_dim]``: spatial memories frame after frame, then pointer tokens.
            memory_pos_bmc: ``[b, m, mem_dim]`` positions, added to the keys only.
            pointer_tokens: number of pointer tokens at the end, which have no place on the grid.
            pooling: cells of the grid that a spatial memory token stands for, in each direction.
            memory_bias_b11m: ``[b, 1, 1, m]``, added to the attention scores, see `attend`; None = 0.

        Returns:
            ``[b, d_model, side, side]``.
        """
        c, side, device = self.d_model, self.grid, feats_bchw.device
        cells = axial_rope(side, c, device)
        memory_cells = axial_rope(side // pooling, c, device, pitch=pooling) if pooling > 1 else cells
        own_rope = Rope(cells, cells, half_split=self.half_split)
        memory_rope = Rope(cells, memory_cells, pointer_tokens, self.half_split)
        position = sine_grid(side, c, device).to(feats_bchw.dtype)
        x = (feats_bchw + 0.1 * position).flatten(2).transpose(1, 2)
        computed = next(self.layers.parameters()).dtype  # converted once; autocast would do it in every layer
        keys_bmc, memory_bmc = (memory_bmc + memory_pos_bmc).to(computed), memory_bmc.to(computed)
        for layer in self.layers:
            x = layer(x, keys_bmc, memory_bmc, own_rope, memory_rope, memory_bias_b11m)
        return self.norm(x).transpose(1, 2).reshape(-1, c, side, side)
