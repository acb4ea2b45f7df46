# SPDX-License-Identifier: Apache-2.0
"""Random weights for every tensor of a SAM 2 state dict (official layout), so that every tensor affects the result.

Knows only keys and shapes; does not know the engine or transformers.

A model with initial values hides wrong code: its layer-scale gammas are 1e-6 and its position tables 0. Here each
tensor has its own generator, seeded by its key: the values do not depend on the order of the keys, and two
implementations with the same key get the same numbers. The scales are chosen by kind of tensor so that activations are
of order one, attention is far from uniform (otherwise positions would not matter) and mask logits have an rms above 1.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

# (pattern of the key, mean, standard deviation); the first match is used.
_FIXED = [
    (r"(no_mem_embed|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial)", 0.0, 1.0),
    (r"maskmem_tpos_enc", 0.0, 2.0),
    (r".*\.pos_embed(_window)?", 0.0, 0.5),
    (r".*positional_encoding_gaussian_matrix", 0.0, 1.0),
    (r".*(_token|_tokens|_embed|point_embeddings\.\d)\.weight", 0.0, 1.0),
    (r".*\.gamma", 0.6, 0.2),
    (r"sam_mask_decoder\.pred_obj_score_head\.layers\.2\.bias", 0.0, 0.0),
    (r"mask_downsample\.bias", 0.0, 1.0),
    (r".*\.bias", 0.0, 0.2),
]
# Weights of linear and convolution layers: (pattern, gain); standard deviation = gain / sqrt(fan in).
_GAINS = [
    # Sharp attention, so that the softmax depends on positions. With still sharper attention a track of 24 frames
    # becomes chaotic: memories are rounded to bfloat16, and a difference in the last bit grows beyond any tolerance.
    # For the same reason the mask has less weight in a memory than the image, which does not depend on earlier frames.
    (r"memory_attention\..*\.(q|k)_proj\.weight", 1.5),
    (r"memory_attention\.layers\.\d+\.cross_attn_image\.(v|out)_proj\.weight", 0.7),
    (r"memory_encoder\.mask_downsampler\.encoder\.12\.weight", 0.3),
    (r"obj_ptr_proj\.layers\.\d\.weight", 2.2),
    (r"obj_ptr_tpos_proj\.weight", 2.0),
    (r"sam_mask_decoder\.output_hypernetworks_mlps\.\d\.layers\.\d\.weight", 1.2),
    (r"sam_mask_decoder\.(iou_prediction_head|pred_obj_score_head)\.layers\.\d\.weight", 1.6),
    (r"mask_downsample\.weight", 4.0),
    (r".*", 1.0),
]


def fill_by_key(
    shapes: Mapping[str, Tensor | torch.Size], seed: int = 0, presence_bias: float = 0.0
) -> dict[str, Tensor]:
    """A float32 tensor for every key. `presence_bias` is added to the object score, which gates the masks."""
    filled = {}
    for key, like in shapes.items():
        shape = like.shape if isinstance(like, Tensor) else like
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) + seed)
        mean, deviation = _mean_and_deviation(key, shape)
        filled[key] = mean + deviation * torch.randn(shape, generator=generator)
        if key == "sam_mask_decoder.pred_obj_score_head.layers.2.bias":
            filled[key] = filled[key] + presence_bias
    return filled


def _mean_and_deviation(key: str, shape: torch.Size) -> tuple[float, float]:
    for pattern, mean, deviation in _FIXED:
        if re.fullmatch(pattern, key):
            return mean, deviation
    if len(shape) == 1:
        return 1.0, 0.3  # weights of layer norms
    # A transposed convolution with kernel and stride 2 sums over its input channels only, its first dimension.
    fan_in = shape[0] if re.fullmatch(r".*output_upscaling\.[03]\.weight", key) else shape[1:].numel()
    gain = next(gain for pattern, gain in _GAINS if re.fullmatch(pattern, key))
    return 0.0, gain / fan_in**0.5
