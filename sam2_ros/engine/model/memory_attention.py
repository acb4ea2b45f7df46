"""Memory attention: the current frame's features attend to memories and object pointers (SAM 2 paper, section 4).

A pure function of tokens; does not know which frames the memories come from or how they are kept.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.kernels.attention import Attention, attention, narrow_values_pay
from sam2_ros.engine.kernels.cpu import LANES, GridProjections, Kernels, cpu_kernels, grid_projections
from sam2_ros.engine.kernels.layers import Linear, computed_dtype, eager_on_cpu, linear
from sam2_ros.engine.kernels.rewrites import Rewrites
from sam2_ros.engine.kernels.rope import (
    across,
    axial_rope,
    pairs_apart,
    rotate,
    rotate_across_,
    rotate_apart,
    rotate_apart_,
    sine_grid,
)

FEED_FORWARD_TOKENS = (
    1024  # at a time on a CPU: their hidden layer takes 4 MB in bfloat16 and stays in the cache
)


class RopeAttention(Attention):
    """Single-head attention with rotary embedding on queries and on the spatial part of the keys."""

    _kept: tuple[tuple[object, ...], GridProjections] | None = None

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
        spatial = k_bmc.shape[1] - unrotated_keys
        key_rope = rope_2nc if key_rope_2nc is None else key_rope_2nc
        keys, channels = k_bmc.shape[1], v_bmc.shape[-1]
        kernels = cpu_kernels() if eager_on_cpu(q_bnc, k_bmc, v_bmc) else None
        if kernels is not None:
            found = self._by_kernels(
                kernels, q_bnc, k_bmc, v_bmc, rope_2nc, key_rope, unrotated_keys, rewrites
            )
            if found is not None:
                return found
        q = _turned(self.split_heads(self._project(self.q_proj, q_bnc, rewrites)), rope_2nc, rewrites)
        q = q.expand(len(k_bmc), -1, -1, -1)
        late = rewrites.late_values and channels < q.shape[-1] and narrow_values_pay(q, keys, channels)
        if late and rewrites.pairs_apart and eager_on_cpu(q):
            k = self._keys_across(k_bmc.to(q.dtype), key_rope, spatial).transpose(2, 3)
            found = attention(q, k, self.split_heads(v_bmc.to(q.dtype)))
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

    def _by_kernels(
        self,
        kernels: Kernels,
        q_bnc: torch.Tensor,
        k_bmc: torch.Tensor,
        v_bmc: torch.Tensor,
        rope_2nc: torch.Tensor,
        key_rope_2nc: torch.Tensor,
        unrotated_keys: int,
        rewrites: Rewrites,
    ) -> torch.Tensor | None:
        """As `forward`, where one of the kernels that rotate is wanted and takes the call."""
        dtype, channels, dim = computed_dtype(q_bnc), self.q_proj.out_features, v_bmc.shape[-1]
        cells, spatial = key_rope_2nc.shape[1], k_bmc.shape[1] - unrotated_keys
        grid = (math.isqrt(cells), spatial // cells, unrotated_keys)
        if rewrites.axial_keys and kernels.grid_pays(dtype, channels, dim, *grid):
            q, projections = self.q_proj(q_bnc), self._grid_projections(key_rope_2nc, dtype)
            found = kernels.attend_to_grid(
                q, k_bmc.to(dtype), v_bmc.to(dtype), projections, rope_2nc, unrotated_keys
            )
            if found is not None:
                return self.out_proj(self.v_proj(found))
        if (
            not rewrites.rotating_kernel
            or cells % LANES
            or not kernels.takes_sizes(dtype, q_bnc.shape[1], k_bmc.shape[1])
        ):
            return None
        late = rewrites.late_values and dim < channels
        q = self.split_heads(self.q_proj(q_bnc)).expand(len(k_bmc), -1, -1, -1)
        k = self.split_heads(self.k_proj(k_bmc))
        v = self.split_heads(v_bmc.to(dtype) if late else self.v_proj(v_bmc))
        found = self.merge_heads(kernels.attend(q, k, v, rope_2nc, across(key_rope_2nc), spatial))
        return self.out_proj(self.v_proj(found) if late else found)

    def _grid_projections(self, rope_2nc: torch.Tensor, dtype: torch.dtype) -> GridProjections:
        """Of the keys' projection; kept where it cannot change unseen: making them takes as long as a layer of nano."""
        weight, bias = self.k_proj.weight, self.k_proj.bias
        if any(x.is_inference() for x in (weight, bias)):
            return grid_projections(weight.to(dtype), bias.to(dtype), rope_2nc)
        of = (
            rope_2nc.data_ptr(),
            rope_2nc.shape,
            dtype,
            *((x.data_ptr(), x._version) for x in (weight, bias)),
        )
        if self._kept is None or self._kept[0] != of:
            with torch.inference_mode(False), torch.no_grad():
                self._kept = of, grid_projections(weight.to(dtype), bias.to(dtype), rope_2nc)
        return self._kept[1]

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
