# SPDX-License-Identifier: Apache-2.0
"""Random weights for every tensor of a SAM 2 state dict (official layout), so that none of it is inert.

Knows nothing of the engine or of transformers: it only sees keys and shapes.

A model with the constructors' values proves little: layer-scale gammas are 1e-6 there and position tables
0, so wrong code passes. Here each tensor comes from its own generator, seeded by its key: the values do not
depend on the order of the keys, and two implementations that name a tensor alike get the same numbers.
Scales are chosen by kind so that activations stay of order one, attention is far from uniform (or position
would not matter) and mask logits have an rms above 1.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

# (pattern of the key, mean, standard deviation); the first that matches wins.
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
# Weights of linear and convolution layers: (pattern, gain), the deviation being gain / sqrt(fan in).
_GAINS = [
    # Sharp attention, so that the softmax cares about positions; sharper still and a tracker of 24 frames
    # turns chaotic: memories are rounded to bfloat16, and a last-bit difference then grows past any
    # tolerance. For the same reason the mask has less weight in a memory than the image, which does not
    # depend on earlier frames.
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
    """A float32 tensor for every key; `presence_bias` shifts the object score, which gates masks."""
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
    # A transposed convolution of kernel and stride 2 sums over its input channels only, which come first.
    fan_in = shape[0] if re.fullmatch(r".*output_upscaling\.[03]\.weight", key) else shape[1:].numel()
    gain = next(gain for pattern, gain in _GAINS if re.fullmatch(pattern, key))
    return 0.0, gain / fan_in**0.5
