"""Memory attention: the current frame's features attend to memories and object pointers (SAM 2 paper, section 4).

A pure function of tokens; does not know which frames the memories come from or how they are kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .attention import Attention, attention, narrow_values_pay
from .config import ModelConfig
from .rewrites import Rewrites
from .rope import axial_rope, pairs_apart, rotate, rotate_apart, sine_grid


class RopeAttention(Attention):
    """Single-head attention with rotary embedding on queries and on the spatial part of the keys."""

    def forward(  # type: ignore[override]
        self,
        q_bnc: torch.Tensor,
        k_bmc: torch.Tensor,
        v_bmc: torch.Tensor,
        rope_2nc: torch.Tensor,
        rewrites: Rewrites,
        unrotated_keys: int = 0,
        key_rope_2nc: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As `Attention`, with the last `unrotated_keys` keys (pointer tokens, which have no place) left alone.

        Queries with a first axis of 1 are the same for the whole batch. `key_rope_2nc`: where keys lie on another grid.
        """
        turn = rotate_apart if rewrites.pairs_apart else rotate
        q = turn(self.split_heads(self._project(self.q_proj, q_bnc, rewrites)), rope_2nc)
        k = self.split_heads(self._project(self.k_proj, k_bmc, rewrites))
        spatial = k.shape[2] - unrotated_keys
        key_rope = rope_2nc if key_rope_2nc is None else key_rope_2nc
        k = torch.cat([turn(k[:, :, :spatial], key_rope), k[:, :, spatial:]], dim=2)
        q = q.expand(len(k), -1, -1, -1)
        value_channels = v_bmc.shape[-1]
        if rewrites.late_values and value_channels < q.shape[-1] and narrow_values_pay(q, k, value_channels):
            found = attention(q, k, self.split_heads(v_bmc.to(q.dtype)))
            return self.out_proj(self.v_proj(self.merge_heads(found)))
        v = self.split_heads(self.v_proj(v_bmc))
        return self.out_proj(self.merge_heads(attention(q, k, v)))

    @staticmethod
    def _project(projection: nn.Linear, x_bnc: torch.Tensor, rewrites: Rewrites) -> torch.Tensor:
        if not rewrites.pairs_apart:
            return projection(x_bnc)
        order = pairs_apart(projection.out_features, x_bnc.device)
        return F.linear(x_bnc, projection.weight[order], projection.bias[order])


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention to memory, feed-forward; pre-norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.self_attn = RopeAttention(d, 1)
        self.cross_attn_image = RopeAttention(d, 1, kv_dim=config.mem_dim)
        self.linear1 = nn.Linear(d, config.memory_attention_ffn)
        self.linear2 = nn.Linear(config.memory_attention_ffn, d)
        self.norm1 = nn.LayerNorm(d)
        self.norm2 = nn.LayerNorm(d)
        self.norm3 = nn.LayerNorm(d)

    def forward(
        self,
        x_bnc: torch.Tensor,
        memory_bmc: torch.Tensor,
        memory_pos_bmc: torch.Tensor,
        rope_2nc: torch.Tensor,
        memory_rope_2nc: torch.Tensor,
        pointer_tokens: int,
        rewrites: Rewrites,
    ) -> torch.Tensor:
        y = self.norm1(x_bnc)
        x = x_bnc + self.self_attn(y, y, y, rope_2nc, rewrites)
        y = self.norm2(x)
        keys = memory_bmc + memory_pos_bmc
        x = x + self.cross_attn_image(
            y, keys, memory_bmc, rope_2nc, rewrites, pointer_tokens, memory_rope_2nc
        )
        y = self.norm3(x)
        return x + self.linear2(F.relu(self.linear1(y)))


class MemoryAttention(nn.Module):
    """A stack of layers over one object's (or a batch of objects') memory."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
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
        rewrites: Rewrites,
        pooling: int = 1,
    ) -> torch.Tensor:
        """Fuse memory into features.

        Args:
            feats_bchw: ``[1 or b, d_model, side, side]`` stride-16 features: of all objects, or one entry for each.
            memory_bmc: ``[b, m, mem_dim]``: spatial memories frame after frame, then pointer tokens.
            memory_pos_bmc: ``[b, m, mem_dim]``, added to the keys only.
            pointer_tokens: how many of the last tokens are pointer tokens.
            pooling: a spatial memory token stands for so many cells in each direction.

        Returns:
            ``[b, d_model, side, side]``.
        """
        c, side = feats_bchw.shape[1:3]
        if not rewrites.shared_first_layer:
            feats_bchw = feats_bchw.expand(len(memory_bmc), -1, -1, -1)
        rope = axial_rope(side, c, feats_bchw.device)
        memory_rope = axial_rope(side // pooling, c, feats_bchw.device, pitch=pooling)
        position = sine_grid(side, c, feats_bchw.device).to(feats_bchw.dtype)
        x = (feats_bchw + 0.1 * position).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, memory_bmc, memory_pos_bmc, rope, memory_rope, pointer_tokens, rewrites)
        return self.norm(x).transpose(1, 2).reshape(-1, c, side, side)
