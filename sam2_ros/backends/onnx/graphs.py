"""The four stages of SAM 2 as modules of fixed shape, of float32 tensors in and out: what is traced into ONNX graphs.

Knows the engine's modules and which entries of a padded input count; does not know files, ONNX or onnxruntime.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from sam2_ros.engine.kernels.attention import NOT_THERE, attention_for_export
from sam2_ros.engine.kernels.rope import axial_rope, pairs_apart, sine_grid, sine_time
from sam2_ros.engine.model.memory_attention import MemoryAttentionLayer
from sam2_ros.engine.model.neck import Neck
from sam2_ros.engine.model.sam2 import Sam2Model

from .layout import ExportLayout

SCORES = 1 << 24  # queries x keys of one object at a time: 64 MB of float32


class ImageEncoderGraph(nn.Module):
    """``image -> s4, s8, s16``: Hiera, the neck, and the decoder's two convolutions on the fine maps."""

    def __init__(self, model: Sam2Model, layout: ExportLayout) -> None:
        super().__init__()
        self.trunk, self.neck = model.image_encoder["trunk"], cast(Neck, model.image_encoder["neck"])
        decoder = model.sam_mask_decoder
        self.s4 = _merged(self.neck.lateral(0), decoder.conv_s0)
        self.s8 = _merged(self.neck.lateral(1), decoder.conv_s1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.trunk(image.to(self.s4.weight.dtype))
        return self.s4(maps[0]).float(), self.s8(maps[1]).float(), self.neck.s16(maps).float()


class MemoryAttentionGraph(nn.Module):
    """``s16, spatial, slots, spatial_valid, pointers[, pointer_age], pointer_valid -> fused``.

    Memory tokens are assembled inside, with their positions in time and space. What is not valid weighs exactly 0.
    Cross-attention averages the memories before it projects them, as `Rewrites.late_values` has it.
    """

    def __init__(self, model: Sam2Model, layout: ExportLayout) -> None:
        super().__init__()
        config = model.config
        self.attention = model.memory_attention
        self.layers = [cast(MemoryAttentionLayer, layer) for layer in self.attention.layers]
        self.projections = nn.ModuleList(  # of every layer: queries and keys of its own, then of the memories
            nn.ModuleList(
                _apart(projection)
                for attention in (layer.self_attn, layer.cross_attn_image)
                for projection in (attention.q_proj, attention.k_proj)
            )
            for layer in self.layers
        )
        self.time = model.maskmem_tpos_enc
        self.pointer_time = model.obj_ptr_tpos_proj if config.version == "2.1" else None
        self.pieces = config.d_model // config.mem_dim
        cells, device = config.grid**2, model.device
        self.register_buffer("grid", sine_grid(config.grid, config.mem_dim, device).flatten(1).t().clone())
        self.register_buffer("place", 0.1 * sine_grid(config.grid, config.d_model, device)[None])
        self.register_buffer("rope", axial_rope(config.grid, config.d_model, device).clone())
        self.parts = -(-cells * layout.keys // SCORES)

    def forward(
        self,
        s16: torch.Tensor,
        spatial: torch.Tensor,
        slots: torch.Tensor,
        spatial_valid: torch.Tensor,
        pointers: torch.Tensor,
        *times_and_validity: torch.Tensor,
    ) -> torch.Tensor:
        dtype, pointer_valid = self.time.dtype, times_and_validity[-1]
        n, frames, cells, c = spatial.shape
        grid, place, rope = self.get_buffer("grid"), self.get_buffer("place"), self.get_buffer("rope")
        time = self.time.view(-1, c)[slots].view(n, frames, 1, c)
        spatial_pos = grid.to(dtype) + time
        pointer_tokens = pointers.to(dtype).reshape(n, -1, c)
        pointer_pos = torch.zeros_like(pointer_tokens)
        if self.pointer_time is not None:
            # The wave of time stays in float32: it is periodic, and float16 would not hold its phase.
            wave = sine_time(times_and_validity[0].flatten(), pointers.shape[-1]).to(dtype)
            pointer_pos = self.pointer_time(wave).repeat_interleave(self.pieces, dim=0).view(n, -1, c)
        memory = torch.cat([spatial.to(dtype).reshape(n, frames * cells, c), pointer_tokens], dim=1)
        position = torch.cat([spatial_pos.reshape(n, frames * cells, c), pointer_pos], dim=1)
        valid = torch.cat(
            [
                spatial_valid[:, :, None].expand(n, frames, cells).reshape(n, frames * cells),
                pointer_valid[:, :, None].expand(n, -1, self.pieces).reshape(n, -1),
            ],
            dim=1,
        )
        bias = (1 - valid)[:, None, None] * NOT_THERE

        x = (s16.to(dtype) + place.to(dtype)).flatten(2).transpose(1, 2)
        for layer, projections in zip(self.layers, self.projections, strict=True):
            x = self._layer(layer, projections, x, memory, memory + position, bias, rope, frames * cells)
        side = s16.shape[-1]
        return self.attention.norm(x).transpose(1, 2).reshape(n, -1, side, side).float()

    def _layer(
        self,
        layer: MemoryAttentionLayer,
        projections: nn.Module,
        x: torch.Tensor,
        memory: torch.Tensor,
        keys: torch.Tensor,
        bias: torch.Tensor,
        rope: torch.Tensor,
        spatial_tokens: int,
    ) -> torch.Tensor:
        """`MemoryAttentionLayer`, of one head, with a bias on the memories. ``[1 or n, cells, d] -> [n, cells, d]``."""
        own, cross = layer.self_attn, layer.cross_attn_image
        own_q, own_k, cross_q, cross_k = cast(nn.ModuleList, projections)
        y = layer.norm1(x)
        q, k = _turned(own_q(y), rope), _turned(own_k(y), rope)
        x = x + own.out_proj(attention_for_export(q, k, own.v_proj(y), None))

        q = _turned(cross_q(layer.norm2(x)), rope)
        k = cross_k(keys)
        k = torch.cat([_turned(k[:, :spatial_tokens], rope), k[:, spatial_tokens:]], dim=1)
        rows = -(-q.shape[1] // self.parts)
        found = torch.cat([attention_for_export(part, k, memory, bias[:, 0]) for part in q.split(rows, 1)], 1)
        x = x + cross.out_proj(cross.v_proj(found))
        return x + layer.linear2(F.relu(layer.linear1(layer.norm3(x))))


class MaskDecoderGraph(nn.Module):
    """``embedding, s8, s4, tokens, token_valid -> masks, iou, mask_tokens, presence``, all four candidates."""

    def __init__(self, model: Sam2Model, layout: ExportLayout) -> None:
        super().__init__()
        self.decoder = model.sam_mask_decoder
        self.register_buffer("place", model.sam_prompt_encoder.dense_position().clone())

    def forward(
        self,
        embedding: torch.Tensor,
        s8: torch.Tensor,
        s4: torch.Tensor,
        tokens: torch.Tensor,
        token_valid: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        dtype = self.decoder.mask_tokens.weight.dtype
        embedding, s8, s4, tokens = (x.to(dtype) for x in (embedding, s8, s4, tokens))
        place, nothing = self.get_buffer("place").to(dtype), torch.zeros(1, dtype=dtype)
        bias = (1 - token_valid) * NOT_THERE
        decoded = self.decoder(embedding, place, tokens, nothing, s8, s4, bias)
        return tuple(part.float() for part in decoded)


class MemoryEncoderGraph(nn.Module):
    """``s16, logits[, presence], binarize -> memory``; `binarize` is 1 where the thresholded mask is remembered."""

    def __init__(self, model: Sam2Model, layout: ExportLayout) -> None:
        super().__init__()
        self.model = model

    def forward(self, s16: torch.Tensor, logits: torch.Tensor, *flags: torch.Tensor) -> torch.Tensor:
        presence, binarize = flags[0], flags[-1] > 0.5
        return self.model.encode_memory(s16.to(self.model.dtype), logits, presence, binarize).float()


GRAPHS: dict[str, type[nn.Module]] = {
    "image_encoder": ImageEncoderGraph,
    "memory_attention": MemoryAttentionGraph,
    "mask_decoder": MaskDecoderGraph,
    "memory_encoder": MemoryEncoderGraph,
}


def _merged(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Two convolutions of one pixel in a row as one, see `Rewrites.folded_skips`."""
    dtype = first.weight.dtype
    w1, w2 = first.weight.detach().flatten(1).float(), second.weight.detach().flatten(1).float()
    b1, b2 = cast(torch.Tensor, first.bias).detach().float(), cast(torch.Tensor, second.bias).detach().float()
    merged = nn.Conv2d(first.in_channels, second.out_channels, 1, dtype=dtype).requires_grad_(False)
    merged.weight.copy_((w2 @ w1)[:, :, None, None])
    cast(torch.Tensor, merged.bias).copy_(w2 @ b1 + b2)
    return merged


def _apart(projection: nn.Linear) -> nn.Linear:
    """The same projection with the channels that turn together half a vector apart, see `Rewrites.pairs_apart`."""
    order = pairs_apart(projection.out_features, projection.weight.device)
    ordered = nn.Linear(projection.in_features, projection.out_features, dtype=projection.weight.dtype)
    ordered.weight = nn.Parameter(projection.weight[order].detach(), requires_grad=False)
    ordered.bias = nn.Parameter(projection.bias[order].detach(), requires_grad=False)
    return ordered


def _turned(x_bnc: torch.Tensor, rope_2nc: torch.Tensor) -> torch.Tensor:
    """`rope.rotate_apart` of one head: real numbers, in float32."""
    b, n, c = x_bnc.shape
    cos, sin = rope_2nc[0], rope_2nc[1]
    first, second = x_bnc.float().reshape(b, n // cos.shape[0], cos.shape[0], c).split(c // 2, dim=-1)
    turned = torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.reshape(b, n, c).to(x_bnc.dtype)
