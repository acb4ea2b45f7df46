# SPDX-License-Identifier: Apache-2.0
"""Rewrites a model's weights once, when it is loaded, so that it gives the same results in less time.

Works on a copy that shares all unchanged tensors. Does not know how attention is computed.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from sam2_ros.engine.model.memory_attention import MemoryAttentionLayer, RopeAttention
from sam2_ros.engine.model.neck import Neck
from sam2_ros.engine.model.sam2 import Sam2Model

from .attention import MemoryKeys, attend, narrow_values_pay
from .cpu import GridProjections, grid_projections, has_cpu_kernels
from .layers import Linear
from .rope import Rope, axial_rope, half_split_order

POOLINGS = (1, 2)  # `TrackerConfig.memory_pooling`


@torch.no_grad()
def prepare(model: Sam2Model, half_split: bool | None = None, narrow_values: bool | None = None) -> Sam2Model:
    """A copy of the model that gives the same results, up to rounding, in less time; its `unprepared` is the model.

    * Half-split rotary layout: rows of the query and key projections are in `half_split_order`. Not with the CPU
      kernels, which rotate adjacent channels while they load them.
    * Narrow values: cross-attention averages the memories themselves, of 64 channels. The average is projected by one
      matrix for value and output projection: ``softmax(S) (M V + b) W = softmax(S) M (V W) + b W``, as the rows of a
      softmax sum to 1.
    * Implicit keys: with the CPU kernels, the key projection is rotated for each column and row of the grid, and keys
      are not computed, see `kernels.cpu.grid_projections`.
    * Two consecutive 1 x 1 convolutions on the features of strides 4 and 8 become one.
    * Tables that the image encoder computes from its weights, see `ImageEncoder.prepare`.

    Args:
        model: on its device and in its precision, and on a GPU with its kernels chosen; it is not changed.
        half_split: rotary layout; None = the faster one. A compiler needs the half-split layout.
        narrow_values: None = if faster.
    """
    model = model.unprepared
    prepared = cast(Sam2Model, _copy(model))
    prepared.prepared_from = (model,)
    if half_split is None:
        half_split = model.device.type != "cpu" or not has_cpu_kernels(model.compute_dtype)
    narrow = _narrow_values_pay(model) if narrow_values is None else narrow_values
    prepared.memory_attention.half_split = half_split
    for module in prepared.memory_attention.layers:
        layer = cast(MemoryAttentionLayer, module)
        if narrow:
            grids = () if half_split else _grids(model, layer.cross_attn_image.k_proj)
            layer.cross_attn_image = NarrowCrossAttention(layer.cross_attn_image, half_split, grids)  # type: ignore[assignment]
        elif half_split:
            _reorder(layer.cross_attn_image)
        if half_split:
            _reorder(layer.self_attn)
    _merge_skips(prepared)
    prepared.trunk.prepare(model.config.image_size)
    return prepared


class NarrowCrossAttention(nn.Module):
    """`RopeAttention` to memories with narrow values: the memories are the values; how keys are made is up to the
    kernel."""

    def __init__(
        self, attention: RopeAttention, half_split: bool, grids: Sequence[GridProjections] = ()
    ) -> None:
        super().__init__()
        self.q_proj, self.k_proj = attention.q_proj, attention.k_proj
        if half_split:
            self.q_proj, self.k_proj = _half_split(self.q_proj), _half_split(self.k_proj)
        weight, bias = _product(attention.v_proj, attention.out_proj)
        self.out_proj = _linear(weight, bias, attention.out_proj)
        self.grids = tuple(grids)

    def forward(
        self,
        q_bnc: torch.Tensor,
        k_bmc: torch.Tensor,
        v_bmc: torch.Tensor,
        rope: Rope,
        bias_b11m: torch.Tensor | None,
    ) -> torch.Tensor:
        """As `RopeAttention.forward`."""
        q = self.q_proj(q_bnc)
        keys = MemoryKeys(k_bmc, self.k_proj.weight, self.k_proj.bias, self.grids)
        return self.out_proj(attend(q[:, None], keys, v_bmc[:, None].to(q.dtype), bias_b11m, rope)[:, 0])


def _copy(module: nn.Module) -> nn.Module:
    """A copy of the modules that shares all tensors."""
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, shared)  # type: ignore[arg-type]


def _narrow_values_pay(model: Sam2Model) -> bool:
    """True if narrow values are faster for a full memory; the same kernels are used before it is full."""
    config = model.config
    keys = (1 + config.recent_memories) * config.grid**2
    with torch.inference_mode():
        queries = torch.empty(
            1, 1, config.grid**2, config.d_model, dtype=model.compute_dtype, device=model.device
        )
        return config.mem_dim < config.d_model and narrow_values_pay(queries, keys, config.mem_dim)


def _grids(model: Sam2Model, keys: nn.Linear) -> list[GridProjections]:
    """The rotated key projections for memories, and for pooled memories."""
    config, grids = model.config, []
    for pooling in POOLINGS:
        if config.grid % pooling == 0:
            rope = axial_rope(config.grid // pooling, config.d_model, model.device, pitch=pooling)
            weight, bias = (x.detach().to(model.compute_dtype) for x in (keys.weight, keys.bias))
            grids.append(grid_projections(weight, bias, rope))
    return grids


def _reorder(attention: RopeAttention) -> None:
    attention.q_proj, attention.k_proj = _half_split(attention.q_proj), _half_split(attention.k_proj)


def _half_split(projection: nn.Linear) -> Linear:
    order = half_split_order(projection.out_features).to(projection.weight.device)
    return _linear(projection.weight[order], projection.bias[order], projection)


def _merge_skips(model: Sam2Model) -> None:
    """Merge the two 1 x 1 convolutions on the features of strides 4 and 8: the maps between them are the widest."""
    neck, decoder = cast(Neck, model.image_encoder["neck"]), model.sam_mask_decoder
    for level, following in ((0, decoder.conv_s0), (1, decoder.conv_s1)):
        first = neck.lateral(level)
        weight, bias = _product(first, following)
        merged = nn.Conv2d(first.in_channels, following.out_channels, 1, device="meta")
        merged.weight = nn.Parameter(weight[:, :, None, None].to(first.weight), requires_grad=False)
        merged.bias = nn.Parameter(bias.to(first.weight), requires_grad=False)
        neck.replace_lateral(level, merged)
    decoder.conv_s0 = decoder.conv_s1 = nn.Identity()  # type: ignore[assignment]


def _product(first: nn.Module, second: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight ``[c_out, c_in]`` and bias of two consecutive linear layers or 1 x 1 convolutions, in float32."""
    w1, w2 = (cast(torch.Tensor, layer.weight).flatten(1).float() for layer in (first, second))
    b1, b2 = (cast(torch.Tensor, layer.bias).float() for layer in (first, second))
    with torch.autocast(w1.device.type, enabled=False):
        return w2 @ w1, w2 @ b1 + b2


def _linear(weight_cd: torch.Tensor, bias_c: torch.Tensor, like: nn.Linear) -> Linear:
    layer = Linear(weight_cd.shape[1], weight_cd.shape[0], device="meta")
    layer.weight, layer.bias = (
        nn.Parameter(x.detach().to(like.weight), requires_grad=False) for x in (weight_cd, bias_c)
    )
    return layer
