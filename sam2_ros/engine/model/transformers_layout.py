# SPDX-License-Identifier: Apache-2.0
"""Renames state dicts between the official SAM 2 key layout and the layout of transformers' `Sam2VideoModel`.

Knows key names only: opens no file, builds no model and does not import transformers.

Both layouts hold the same numbers. They differ in more than names in three places. In transformers the four point
embeddings are one [4, 256] table; the Fourier matrix of the prompt encoder is stored twice (some files keep only one
copy); and the layers of three-layer MLPs are called `proj_in`, `layers.0`, `proj_out` instead of `layers.0`,
`layers.1`, `layers.2`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sam2_ros.engine.config import FAMILY

from .image_encoder import PREFIX

# `#` stands for a number and `*` for `weight` or `bias`; both sides have them in the same order.
_MLP3 = (("layers.0", "proj_in"), ("layers.1", "layers.0"), ("layers.2", "proj_out"))
_MLP2 = (("layers.0", "proj_in"), ("layers.1", "proj_out"))
_ATTENTION = tuple((f"{x}_proj", f"{y}_proj") for x, y in (("q", "q"), ("k", "k"), ("v", "v"), ("out", "o")))


def _under(
    official: str, transformers: str, pairs: Iterable[tuple[str, str]], end: str = ".*"
) -> list[tuple[str, str]]:
    return [(f"{official}.{a}{end}", f"{transformers}.{b}{end}") for a, b in pairs]


def _same(names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, name) for name in names]


_TOP = [
    ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    ("no_mem_embed", "no_memory_embedding"),
    ("no_mem_pos_enc", "no_memory_positional_encoding"),
    ("no_obj_ptr", "no_object_pointer"),
    ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    ("mask_downsample.*", "mask_downsample.*"),
    ("obj_ptr_tpos_proj.*", "temporal_positional_encoding_projection_layer.*"),
    *_under("obj_ptr_proj", "object_pointer_proj", _MLP3),
]

_ENCODERS = {type(config.encoder) for config in FAMILY.values()}
_IMAGE_ENCODER = [
    ("image_encoder.neck.convs.#.conv.*", "vision_encoder.neck.convs.#.*"),
    *(
        (PREFIX + ours, f"vision_encoder.backbone.{theirs}")
        for encoder in _ENCODERS
        for ours, theirs in encoder.transformers_names
    ),
]

_MEMORY = [
    ("memory_attention.norm.*", "memory_attention.layer_norm.*"),
    *_under("memory_attention.layers.#", "memory_attention.layers.#", _same(("linear1", "linear2"))),
    *_under(
        "memory_attention.layers.#",
        "memory_attention.layers.#",
        [(f"norm{i}", f"layer_norm{i}") for i in (1, 2, 3)],
    ),
    *_under("memory_attention.layers.#.self_attn", "memory_attention.layers.#.self_attn", _ATTENTION),
    *_under(
        "memory_attention.layers.#.cross_attn_image", "memory_attention.layers.#.cross_attn_image", _ATTENTION
    ),
    # The official mask downsampler is one Sequential: four times conv, norm, activation, then a 1 x 1 conv.
    *_under(
        "memory_encoder.mask_downsampler.encoder",
        "memory_encoder.mask_downsampler",
        [
            *((f"{3 * i}", f"layers.{i}.conv") for i in range(4)),
            *((f"{3 * i + 1}", f"layers.{i}.layer_norm") for i in range(4)),
            ("12", "final_conv"),
        ],
    ),
    ("memory_encoder.pix_feat_proj.*", "memory_encoder.feature_projection.*"),
    ("memory_encoder.out_proj.*", "memory_encoder.projection.*"),
    ("memory_encoder.fuser.layers.#.gamma", "memory_encoder.memory_fuser.layers.#.scale"),
    *_under(
        "memory_encoder.fuser.layers.#",
        "memory_encoder.memory_fuser.layers.#",
        [
            ("dwconv", "depthwise_conv"),
            ("norm", "layer_norm"),
            ("pwconv1", "pointwise_conv1"),
            ("pwconv2", "pointwise_conv2"),
        ],
    ),
]

_PROMPT_ENCODER = [
    *_under("sam_prompt_encoder", "prompt_encoder", _same(("not_a_point_embed", "no_mask_embed"))),
    *_under(
        "sam_prompt_encoder.mask_downscaling",
        "prompt_encoder.mask_embed",
        [("0", "conv1"), ("1", "layer_norm1"), ("3", "conv2"), ("4", "layer_norm2"), ("6", "conv3")],
    ),
]

_TWO_WAY = [
    *_under("layers.#", "layers.#", [(f"norm{i}", f"layer_norm{i}") for i in (1, 2, 3, 4)]),
    *_under("layers.#.mlp", "layers.#.mlp", _MLP2),
    *_under("layers.#.self_attn", "layers.#.self_attn", _ATTENTION),
    *_under("layers.#.cross_attn_token_to_image", "layers.#.cross_attn_token_to_image", _ATTENTION),
    *_under("layers.#.cross_attn_image_to_token", "layers.#.cross_attn_image_to_token", _ATTENTION),
    *_under("final_attn_token_to_image", "final_attn_token_to_image", _ATTENTION),
    ("norm_final_attn.*", "layer_norm_final_attn.*"),
]

_MASK_DECODER = [
    *_under("sam_mask_decoder", "mask_decoder", _same(("iou_token", "mask_tokens", "obj_score_token"))),
    *_under("sam_mask_decoder", "mask_decoder", _same(("conv_s0", "conv_s1"))),
    *_under(
        "sam_mask_decoder.output_upscaling",
        "mask_decoder",
        [("0", "upscale_conv1"), ("1", "upscale_layer_norm"), ("3", "upscale_conv2")],
    ),
    *_under(
        "sam_mask_decoder.output_hypernetworks_mlps.#", "mask_decoder.output_hypernetworks_mlps.#", _MLP3
    ),
    *_under("sam_mask_decoder.iou_prediction_head", "mask_decoder.iou_prediction_head", _MLP3),
    *_under("sam_mask_decoder.pred_obj_score_head", "mask_decoder.pred_obj_score_head", _MLP3),
    *_under("sam_mask_decoder.transformer", "mask_decoder.transformer", _TWO_WAY, end=""),
]

_LAYOUT = (*_TOP, *_IMAGE_ENCODER, *_MEMORY, *_PROMPT_ENCODER, *_MASK_DECODER)

_OFFICIAL_FOURIER = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_TRANSFORMERS_FOURIER = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)
_OFFICIAL_POINTS = tuple(f"sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(4))
_TRANSFORMERS_POINTS = "prompt_encoder.point_embed.weight"


def _rules(pairs: Iterable[tuple[str, str]]) -> list[tuple[re.Pattern[str], str]]:
    """Compile templates to (pattern to match, replacement for `Match.expand`)."""
    rules = []
    for source, target in pairs:
        pattern = re.escape(source).replace(r"\#", r"(\d+)").replace(r"\*", "(weight|bias)")
        pieces = re.split(r"[#*]", target)
        replacement = pieces[0] + "".join(rf"\g<{i}>{piece}" for i, piece in enumerate(pieces[1:], start=1))
        rules.append((re.compile(pattern), replacement))
    return rules


_TO_TRANSFORMERS = _rules(_LAYOUT)
_TO_OFFICIAL = _rules((b, a) for a, b in _LAYOUT)


def _renamed(key: str, rules: list[tuple[re.Pattern[str], str]], layout: str) -> str:
    for pattern, replacement in rules:
        if match := pattern.fullmatch(key):
            return match.expand(replacement)
    raise ValueError(f"state dict key {key!r} is not of the {layout} SAM 2 layout: is this another model?")


def is_transformers_layout(keys: Iterable[str]) -> bool:
    """True if the keys are those of transformers' SAM 2 models, which call the encoder `vision_encoder`."""
    return any(key.startswith("vision_encoder.") for key in keys)


def to_transformers(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename official keys to those of transformers' `Sam2VideoModel`.

    Args:
        official: any subset of the official keys; the four point embeddings only together.

    Raises:
        ValueError: a key is not of the official layout, or some point embeddings are missing.
    """
    renamed: dict[str, Tensor] = {}
    points = [official[key] for key in _OFFICIAL_POINTS if key in official]
    if points:
        if len(points) != len(_OFFICIAL_POINTS):
            raise ValueError(
                f"{len(points)} of the {len(_OFFICIAL_POINTS)} point embeddings given; give all or none"
            )
        renamed[_TRANSFORMERS_POINTS] = torch.cat(points, dim=0)
    for key, tensor in official.items():
        if key == _OFFICIAL_FOURIER:
            renamed.update((copy, tensor) for copy in _TRANSFORMERS_FOURIER)
        elif key not in _OFFICIAL_POINTS:
            renamed[_renamed(key, _TO_TRANSFORMERS, "official")] = tensor
    return renamed


def from_transformers(renamed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename keys of transformers' models to the official ones.

    Args:
        renamed: keys of a `Sam2VideoModel`, or of a `Sam2Model` (images only), which has no memory modules.

    Raises:
        ValueError: a key is not of transformers' layout, or the two copies of the Fourier matrix differ.
    """
    official: dict[str, Tensor] = {}
    for key, tensor in renamed.items():
        if key in _TRANSFORMERS_FOURIER:
            first = official.setdefault(_OFFICIAL_FOURIER, tensor)
            if first is not tensor and not torch.equal(first, tensor):
                raise ValueError(
                    f"{' and '.join(_TRANSFORMERS_FOURIER)} differ; expected two copies of one tensor"
                )
        elif key == _TRANSFORMERS_POINTS:
            if tensor.shape[0] != len(_OFFICIAL_POINTS):
                raise ValueError(
                    f"{key} has shape {list(tensor.shape)}; expected [{len(_OFFICIAL_POINTS)}, channels]"
                )
            official.update((name, tensor[i : i + 1]) for i, name in enumerate(_OFFICIAL_POINTS))
        else:
            official[_renamed(key, _TO_OFFICIAL, "transformers")] = tensor
    return official
