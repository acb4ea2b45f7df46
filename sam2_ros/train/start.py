"""Starting values that make a small model learn in hours on a CPU what random ones take days for.

Sets weights once, before the first step; the architecture and its checkpoints stay those of SAM 2.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from sam2_ros.engine.attention import Attention
from sam2_ros.engine.memory_attention import RopeAttention
from sam2_ros.engine.model import Sam2Model

LAYER_SCALE = 0.1
WAVE_AMPLITUDE = 0.4
PLACE_BANDWIDTH = 0.5  # of the Fourier features: positions half as far apart look alike
PROMPT_KIND_SCALE = 0.3
NO_MASK_SCALE = 0.02
OUTPUT_TOKEN_SCALE = 0.2
SAME_PLACE_GAIN = 2.5  # on tied query and key weights: attention starts peaked where positions agree
SAME_PLACE_BIAS = 2.0  # on the fast rotary pairs: a logit of about 6 at the same cell, near 0 some cells away
FAST_PAIRS = 8  # per axis


@torch.no_grad()
def initialise(model: Sam2Model) -> Sam2Model:
    """Fill the tables that constructors leave at zero, and let attention start by looking at the same place.

    * The layer scale of the memory encoder starts at 0.1 instead of 1e-6.
    * The image encoder's position table starts as smooth waves, so that features say where they are.
    * The constants (no mask, kinds of prompts, output tokens) start small: at the size that constructors give
      them they drown the image and the place of a click.
    * In the mask decoder, query and key projections start equal: tokens and pixels carry the Fourier features of
      their position, so a click looks at itself and at its own pixels from the first step on.
    * In memory cross-attention, equal biases of queries and keys on the fast rotary pairs make each cell read
      the memory of its own neighbourhood first.
    """
    trunk = model.image_encoder["trunk"]
    trunk.pos_embed.copy_(_smooth_waves(trunk.pos_embed.shape[1], trunk.pos_embed.shape[2]))
    nn.init.trunc_normal_(trunk.pos_embed_window, std=0.02)
    for layer in model.memory_encoder.fuser.layers:
        layer.gamma.fill_(LAYER_SCALE)
    prompts = model.sam_prompt_encoder
    prompts.pe_layer.positional_encoding_gaussian_matrix.mul_(PLACE_BANDWIDTH)
    for embedding in (*prompts.point_embeddings, prompts.not_a_point_embed):
        embedding.weight.mul_(PROMPT_KIND_SCALE)
    prompts.no_mask_embed.weight.mul_(NO_MASK_SCALE)
    decoder = model.sam_mask_decoder
    for embedding in (decoder.iou_token, decoder.mask_tokens, decoder.obj_score_token):
        embedding.weight.mul_(OUTPUT_TOKEN_SCALE)
    for module in decoder.transformer.modules():
        if isinstance(module, Attention):
            module.q_proj.weight.mul_(SAME_PLACE_GAIN)
            module.k_proj.weight.copy_(module.q_proj.weight)
    for layer in model.memory_attention.layers:
        _prefer_same_place(layer.cross_attn_image)
    return model


def _smooth_waves(channels: int, side: int) -> torch.Tensor:
    """``[1, channels, side, side]``: plane waves of at most two periods over the image."""
    frequency_xy = 4 * torch.rand(channels, 2) - 2
    centres = (torch.arange(side) + 0.5) / side
    cycles = frequency_xy[:, 1, None, None] * centres[:, None] + frequency_xy[:, 0, None, None] * centres
    phase = torch.rand(channels, 1, 1)
    return WAVE_AMPLITUDE * (2 * math.pi * (cycles + phase)).sin()[None]


def _prefer_same_place(attention: RopeAttention) -> None:
    half = attention.q_proj.bias.numel() // 2
    for axis in (0, half):
        first_of_pairs = slice(axis, axis + 2 * FAST_PAIRS, 2)
        attention.q_proj.bias[first_of_pairs] = SAME_PLACE_BIAS
        attention.k_proj.bias[first_of_pairs] = SAME_PLACE_BIAS
