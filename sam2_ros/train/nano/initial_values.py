# SPDX-License-Identifier: Apache-2.0
"""Initial weights with which a small model trains in hours on a CPU instead of days.

Sets weights once, before the first step; the architecture and the format of checkpoints stay those of SAM 2.
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
PLACE_BANDWIDTH = 0.5  # factor on the Fourier frequencies: distant positions look more similar
PROMPT_KIND_SCALE = 0.3
NO_MASK_SCALE = 0.02
OUTPUT_TOKEN_SCALE = 0.2
SAME_PLACE_GAIN = 2.5  # of tied query and key weights: attention starts with its peak at equal positions
SAME_PLACE_BIAS = 1.2  # of the fast rotary pairs: a logit of about 2 at the same cell, near 0 some cells away
FAST_PAIRS = 8  # per axis
MATCH_GAIN = 2.0  # of queries and keys: a logit of about 4 for equal features
OTHER_CHANNELS_SCALE = 0.3
MASK_CHANNELS = 16  # channels of a memory for the mask; the others start with the image features


@torch.no_grad()
def initialise(model: Sam2Model) -> Sam2Model:
    """Initialises the tables that constructors leave at zero, and makes attention start at the same position.

    * The layer scale of the memory encoder starts at 0.1 instead of 1e-6, and memory as in `initialise_memory`.
    * The image encoder is initialised by its own `initialise`.
    * The constants (no mask, kinds of prompts, output tokens) start small: with the constructors' values they are
      larger than the image and the position of a click.
    * In the mask decoder, query and key projections start equal: tokens and pixels have the Fourier features of their
      position, so that a click attends to itself and to its own pixels from the first step on.
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
    """Makes memory attention start with matching appearance, with a slight preference for the same position.

    A memory starts as a projection of the frame's features next to one of the mask. Cross-attention compares the
    features, on the slow rotary pairs, which hardly rotate with distance. Without this, a small model learns to copy
    the last mask to the same position.
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
    """Initialises queries and keys: `looks` channels on the slowest rotary pairs, the position on the fastest."""
    half, per_axis = attention.q_proj.bias.numel() // 2, len(looks_ld) // 2
    slow = [axis + half - 1 - i for axis in (0, half) for i in range(per_axis)]
    fast = [axis + 2 * pair for axis in (0, half) for pair in range(FAST_PAIRS)]
    for projection, content in ((attention.q_proj, looks_ld), (attention.k_proj, torch.eye(len(looks_ld)))):
        projection.weight.mul_(OTHER_CHANNELS_SCALE)
        projection.weight[slow] = 0
        projection.weight[slow, : content.shape[1]] = MATCH_GAIN * content
        projection.bias.zero_()
        projection.bias[fast] = SAME_PLACE_BIAS
