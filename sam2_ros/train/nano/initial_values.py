# SPDX-License-Identifier: Apache-2.0
"""Starting values that make a small model learn in hours on a CPU what random ones take days for.

Sets weights once, before the first step; the architecture and its checkpoints stay those of SAM 2.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from sam2_ros.engine.kernels.attention import Attention
from sam2_ros.engine.model.memory_attention import MemoryAttentionLayer, RopeAttention
from sam2_ros.engine.model.memory_encoder import FuserLayer
from sam2_ros.engine.model.sam2 import Sam2Model

LAYER_SCALE = 0.1
PLACE_BANDWIDTH = 0.5  # of the Fourier features: positions half as far apart look alike
PROMPT_KIND_SCALE = 0.3
NO_MASK_SCALE = 0.02
OUTPUT_TOKEN_SCALE = 0.2
SAME_PLACE_GAIN = 2.5  # on tied query and key weights: attention starts peaked where positions agree
SAME_PLACE_BIAS = 1.2  # on the fast rotary pairs: a logit of about 2 at the same cell, near 0 some cells away
FAST_PAIRS = 8  # per axis
MATCH_GAIN = 2.0  # on both sides: a logit of about 4 where features agree
OTHER_CHANNELS_SCALE = 0.3
MASK_CHANNELS = 16  # of a memory; the others start as the features' own


@torch.no_grad()
def initialise(model: Sam2Model) -> Sam2Model:
    """Fill the tables that constructors leave at zero, and let attention start by looking at the same place.

    * The layer scale of the memory encoder starts at 0.1 instead of 1e-6, and memory as in `initialise_memory`.
    * The image encoder starts as its own `initialise` has it.
    * The constants (no mask, kinds of prompts, output tokens) start small: at the size that constructors give
      them they drown the image and the place of a click.
    * In the mask decoder, query and key projections start equal: tokens and pixels carry the Fourier features of
      their position, so a click looks at itself and at its own pixels from the first step on.
    """
    model.trunk.initialise()
    prompts = model.sam_prompt_encoder
    prompts.pe_layer.positional_encoding_gaussian_matrix.mul_(PLACE_BANDWIDTH)
    for embedding in (*prompts.point_embeddings, prompts.not_a_point_embed):
        cast(nn.Embedding, embedding).weight.mul_(PROMPT_KIND_SCALE)
    prompts.no_mask_embed.weight.mul_(NO_MASK_SCALE)
    decoder = model.sam_mask_decoder
    for embedding in (decoder.iou_token, decoder.mask_tokens, decoder.obj_score_token):
        embedding.weight.mul_(OUTPUT_TOKEN_SCALE)
    for module in decoder.transformer.modules():
        if isinstance(module, Attention):
            module.q_proj.weight.mul_(SAME_PLACE_GAIN)
            module.k_proj.weight.copy_(module.q_proj.weight)
    initialise_memory(model)
    return model


@torch.no_grad()
def initialise_memory(model: Sam2Model) -> None:
    """Let memory attention start by matching appearance, with a mild preference for the same place.

    A memory starts as a plain projection of the frame's features beside one of the mask, and cross-attention
    compares the features: on the slow rotary pairs, which hardly turn with distance. Without this a small model
    learns to copy the last mask where it was.
    """
    encoder, d, m = model.memory_encoder, model.config.d_model, model.config.mem_dim
    basis = torch.linalg.qr(torch.randn(d, m))[0].t()
    looks = m - MASK_CHANNELS
    mask_directions = basis[looks:].t() @ basis[looks:]
    encoder.pix_feat_proj.weight.copy_((torch.eye(d) - mask_directions)[:, :, None, None])
    nn.init.zeros_(_bias(encoder.pix_feat_proj))
    encoder.out_proj.weight.copy_(basis[:, :, None, None])
    nn.init.zeros_(_bias(encoder.out_proj))
    last = cast(nn.Conv2d, encoder.mask_downsampler.encoder[-1])
    last.weight.copy_((mask_directions @ last.weight.flatten(1))[:, :, None, None])
    _bias(last).copy_(mask_directions @ _bias(last))
    for layer in encoder.fuser.layers:
        cast(FuserLayer, layer).gamma.fill_(LAYER_SCALE)
    for layer in model.memory_attention.layers:
        _match(cast(MemoryAttentionLayer, layer).cross_attn_image, basis[:looks])


def _bias(layer: nn.Conv2d) -> torch.Tensor:
    return cast(torch.Tensor, layer.bias)


def _match(attention: RopeAttention, looks_ld: torch.Tensor) -> None:
    """Queries and keys: `looks` channels on the slowest rotary pairs, the same place on the fastest."""
    half, per_axis = attention.q_proj.bias.numel() // 2, len(looks_ld) // 2
    slow = [axis + half - 1 - i for axis in (0, half) for i in range(per_axis)]
    fast = [axis + 2 * pair for axis in (0, half) for pair in range(FAST_PAIRS)]
    for projection, content in ((attention.q_proj, looks_ld), (attention.k_proj, torch.eye(len(looks_ld)))):
        projection.weight.mul_(OTHER_CHANNELS_SCALE)
        projection.weight[slow] = 0
        projection.weight[slow, : content.shape[1]] = MATCH_GAIN * content
        projection.bias.zero_()
        projection.bias[fast] = SAME_PLACE_BIAS
