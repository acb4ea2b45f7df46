# SPDX-License-Identifier: Apache-2.0
"""The stages of SAM 2 as modules of fixed shapes, with float32 inputs and outputs, to be traced as ONNX graphs.

Built from a model that `kernels.prepare` prepared for a compiler. Knows which entries of a padded input are valid. Does
not know files, ONNX or onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from sam2_ros.engine.kernels.attention import NOT_THERE
from sam2_ros.engine.kernels.rope import sine_grid, sine_time
from sam2_ros.engine.model.sam2 import Sam2Model

from .layout import ExportLayout


class ImageEncoderGraph(nn.Module):
    """``image -> s4, s8, s16[, keys]``."""

    def __init__(self, model: Sam2Model, layout: ExportLayout) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.model.encode_image(image.to(self.model.dtype))
        return tuple(level.float() for level in features if level is not None)


class MemoryAttentionGraph(nn.Module):
    """``s16, spatial, slots, spatial_valid, pointers[, pointer_age], pointer_valid -> fused``.

    Assembles the memory tokens with their positions in time and space. Padding has a weight of exactly 0.
    """

    def __init__(self, model: Sam2Model, layout: ExportLayout) -> None:
        super().__init__()
        config = model.config
        self.attention = model.memory_attention
        self.time = model.maskmem_tpos_enc
        self.pointer_time = model.obj_ptr_tpos_proj if config.version == "2.1" else None
        self.pieces, self.pointers = config.d_model // config.mem_dim, layout.pointers
        grid = sine_grid(config.grid, config.mem_dim, model.device)
        self.register_buffer("grid", grid.flatten(1).t().clone())

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
        time = self.time.view(-1, c)[slots].view(n, frames, 1, c)
        spatial_pos = self.get_buffer("grid").to(dtype) + time
        pointer_tokens = pointers.to(dtype).reshape(n, -1, c)
        pointer_pos = torch.zeros_like(pointer_tokens)
        if self.pointer_time is not None:
            # The time encoding is computed in float32: float16 would lose the phase of its sines.
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
        loose = self.pointers * self.pieces
        return self.attention(s16.to(dtype), memory, position, loose, memory_bias_b11m=bias).float()


class MaskDecoderGraph(nn.Module):
    """``embedding, s8, s4, tokens, token_valid -> masks, iou, mask_tokens, presence``, with all four candidates."""

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
    """``s16, logits[, presence], binarize -> memory``; `binarize` is 1 for memories of the thresholded mask."""

    def __init__(self, model: Sam2Model, layout: ExportLayout) -> None:
        super().__init__()
        self.model = model

    def forward(self, s16: torch.Tensor, logits: torch.Tensor, *flags: torch.Tensor) -> torch.Tensor:
        presence, binarize = flags[0], flags[-1] > 0.5
        return self.model.encode_memory(s16.to(self.model.dtype), logits, presence, binarize).float()


class MatchingGraph(nn.Module):
    """``keys, past_keys, masks -> covered, weights``: one past frame, searched everywhere, or in windows if recent.

    Sums over its cells of weight x mask, and of the weights; sums of several frames are added by the caller. Computed
    in float32 in any case: float16 would lose the small weights.
    """

    def __init__(self, model: Sam2Model, layout: ExportLayout, recent: bool) -> None:
        super().__init__()
        self.matching = model.matching
        self.recent = recent

    def forward(
        self, keys: torch.Tensor, past_keys: torch.Tensor, masks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        columns = torch.cat([masks, torch.ones_like(masks[:1])]).t()
        sums = self.matching.sums(keys, past_keys[None], columns[None], self.recent).t()
        return sums[:-1], sums[-1:]


class MatchingEmbeddingGraph(nn.Module):
    """``evidence -> s16, s8, s4``, which are added to the inputs of the mask decoder."""

    def __init__(self, model: Sam2Model, layout: ExportLayout) -> None:
        super().__init__()
        self.matching = model.matching

    def forward(self, evidence: torch.Tensor) -> tuple[torch.Tensor, ...]:
        dtype = self.matching.to_s16.weight.dtype
        return tuple(part.float() for part in self.matching.embedding(evidence.to(dtype)))


GRAPHS: dict[str, Callable[[Sam2Model, ExportLayout], nn.Module]] = {
    "image_encoder": ImageEncoderGraph,
    "memory_attention": MemoryAttentionGraph,
    "mask_decoder": MaskDecoderGraph,
    "memory_encoder": MemoryEncoderGraph,
    "matching_prompted": partial(MatchingGraph, recent=False),
    "matching_recent": partial(MatchingGraph, recent=True),
    "matching_embedding": MatchingEmbeddingGraph,
}
