"""Memory attention: the current frame's features attend to memories and object pointers (SAM 2 paper, section 4).

A pure function of tokens; does not know which frames the memories come from or how they are kept.
"""

from __future__ import annotations

import torch
from torch import nn

from .attention import Attention, attention, attention_in_tiles, narrow_values_pay
from .config import ModelConfig
from .layers import Linear, eager_on_cpu, linear
from .rewrites import Rewrites
from .rope import axial_rope, pairs_apart, rotate, rotate_across_, rotate_apart, rotate_apart_, sine_grid

FEED_FORWARD_TOKENS = (
    1024  # at a time on a CPU: their hidden layer takes 4 MB in bfloat16 and stays in the cache
)


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
        q = _turned(self.split_heads(self._project(self.q_proj, q_bnc, rewrites)), rope_2nc, rewrites)
        q = q.expand(len(k_bmc), -1, -1, -1)
        spatial = k_bmc.shape[1] - unrotated_keys
        key_rope = rope_2nc if key_rope_2nc is None else key_rope_2nc
        keys, channels = k_bmc.shape[1], v_bmc.shape[-1]
        late = rewrites.late_values and channels < q.shape[-1] and narrow_values_pay(q, keys, channels)
        if late and rewrites.pairs_apart and eager_on_cpu(q):
            across = self._keys_across(k_bmc.to(q.dtype), key_rope, spatial)
            found = attention_in_tiles(q, across, self.split_heads(v_bmc.to(q.dtype)))
            return self.out_proj(self.v_proj(self.merge_heads(found)))
        k = self.split_heads(self._project(self.k_proj, k_bmc, rewrites))
        if unrotated_keys:
            k = torch.cat([_turned(k[:, :, :spatial], key_rope, rewrites), k[:, :, spatial:]], dim=2)
        else:
            k = _turned(k, key_rope, rewrites)
        if late:
            found = attention(q, k, self.split_heads(v_bmc.to(q.dtype)))
            return self.out_proj(self.v_proj(self.merge_heads(found)))
        v = self.split_heads(self.v_proj(v_bmc))
        return self.out_proj(self.merge_heads(attention(q, k, v)))

    def _keys_across(self, k_bmc: torch.Tensor, rope_2nc: torch.Tensor, spatial: int) -> torch.Tensor:
        """The keys, channels first and with pairs apart, ``[b, 1, c, m]``; the first `spatial` tokens are rotated."""
        order = pairs_apart(self.k_proj.out_features, k_bmc.device)
        weight, bias = (x[order].to(k_bmc.dtype) for x in (self.k_proj.weight, self.k_proj.bias[:, None]))
        keys = k_bmc.new_empty(len(k_bmc), 1, len(weight), k_bmc.shape[1])
        for tokens_mc, across_cm in zip(k_bmc, keys[:, 0], strict=True):
            torch.addmm(bias, weight, tokens_mc.t(), out=across_cm)
            rotate_across_(across_cm[:, :spatial], rope_2nc)
        return keys

    @staticmethod
    def _project(projection: nn.Linear, x_bnc: torch.Tensor, rewrites: Rewrites) -> torch.Tensor:
        if not rewrites.pairs_apart:
            return projection(x_bnc)
        order = pairs_apart(projection.out_features, x_bnc.device)
        return linear(x_bnc, projection.weight[order], projection.bias[order])


def _turned(x_bhnc: torch.Tensor, rope_2nc: torch.Tensor, rewrites: Rewrites) -> torch.Tensor:
    """Rotated; what was projected is not needed any more, and overwritten where that pays."""
    if not rewrites.pairs_apart:
        return rotate(x_bhnc, rope_2nc)
    return (rotate_apart_ if eager_on_cpu(x_bhnc) else rotate_apart)(x_bhnc, rope_2nc)


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention to memory, feed-forward; pre-norm."""

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
        rope_2nc: torch.Tensor,
        memory_rope_2nc: torch.Tensor,
        pointer_tokens: int,
        rewrites: Rewrites,
    ) -> torch.Tensor:
        y = self.norm1(x_bnc)
        x = x_bnc + self.self_attn(y, y, y, rope_2nc, rewrites)
        y = self.norm2(x)
        x = x + self.cross_attn_image(
            y, keys_bmc, memory_bmc, rope_2nc, rewrites, pointer_tokens, memory_rope_2nc
        )
        return x + self._feed_forward(self.norm3(x))

    def _feed_forward(self, y_bnc: torch.Tensor) -> torch.Tensor:
        if not eager_on_cpu(y_bnc):
            return self.linear2(self.linear1(y_bnc, "relu"))
        strips = y_bnc.split(FEED_FORWARD_TOKENS, dim=1)
        return torch.cat([self.linear2(self.linear1(strip, "relu")) for strip in strips], dim=1)


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
        computed = next(self.layers.parameters()).dtype  # autocast would convert what follows in every layer
        keys_bmc, memory_bmc = (memory_bmc + memory_pos_bmc).to(computed), memory_bmc.to(computed)
        for layer in self.layers:
            x = layer(x, keys_bmc, memory_bmc, rope, memory_rope, pointer_tokens, rewrites)
        return self.norm(x).transpose(1, 2).reshape(-1, c, side, side)
