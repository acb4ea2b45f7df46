# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of one tracked frame, computed from a model's shapes: two for each multiply-add.

Knows the official arithmetic and the exact rewrites of it; runs nothing. Counts matrix products, convolutions and
attention. Does not count norms, activations, softmax, resizing and additions: together they are less than one percent,
and no matrix unit executes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.kernels.cell_matching import cells_in_windows
from sam2_ros.engine.model.image_encoder import STRIDES, attention_flops, linear_flops
from sam2_ros.engine.model.matching import EVIDENCE

PROMPT_TOKENS = 8
"""Tokens of the mask decoder on a frame without prompts: object score, IoU, four masks, two of padding."""


@dataclass(frozen=True)
class BankSize:
    """Size of the memory bank that memory attention reads.

    Attributes:
        conditioning: number of spatial memories of prompted frames.
        recents: number of recent frames that spatial memories cover.
        pointers: number of object pointers.
        pooling, every: see `TrackerConfig.memory_pooling` and `memory_every`.
    """

    conditioning: int = 1
    recents: int = 6
    pointers: int = 16
    pooling: int = 1
    every: int = 1

    def tokens(self, config: ModelConfig) -> int:
        """Number of keys of cross-attention, on average over the frames."""
        return self.frame_tokens(config, self.conditioning + self.recents / self.every)

    def frame_tokens(self, config: ModelConfig, frames: float) -> int:
        """Number of tokens of `frames` spatial memories and all pointers."""
        cells = (config.grid // self.pooling) ** 2
        return round(frames * cells) + self.pointers * (config.d_model // config.mem_dim)


@dataclass(frozen=True)
class FrameFlops:
    """Operations of one tracked frame by part of the model; all but the encoder per object."""

    encoder: int
    memory_attention: int
    decoder: int
    memory_encoder: int
    shared_by_objects: int = 0  # part of the per-object operations that is done once for all objects
    matching: int = 0  # reading of the matching memory

    def of(self, objects: int) -> int:
        """Operations of a frame with `objects` objects."""
        each = self.memory_attention + self.matching + self.decoder + self.memory_encoder
        return self.encoder + objects * each - (objects - 1) * self.shared_by_objects


def official_flops(config: ModelConfig, bank: BankSize) -> FrameFlops:
    """Operations of the official code: every object separately, keys and values projected on every frame.

    The matching memory, which official models do not have, compares cells once for all objects.
    """
    return FrameFlops(
        encoder_flops(config),
        memory_attention_flops(config, bank),
        decoder_flops(config),
        memory_encoder_flops(config) // bank.every,
        shared_by_objects=matching_flops(config, bank, objects=0),
        matching=matching_flops(config, bank),
    )


def rewritten_flops(config: ModelConfig, bank: BankSize) -> FrameFlops:
    """Fewest operations with equal results: all exact rewrites of docs/explanation/kernels.md, used here or not."""
    return FrameFlops(
        encoder_flops(config, padded=False) - _folded_skips(config),
        rewritten_memory_attention_flops(config, bank),
        decoder_flops(config),
        memory_encoder_flops(config) // bank.every,
        shared_by_objects=_self_attention(config)
        + linear_flops(config.grid**2, config.d_model, config.d_model)
        + matching_flops(config, bank, objects=0),
        matching=matching_flops(config, bank),
    )


def encoder_flops(config: ModelConfig, padded: bool = True) -> int:
    """The encoder, the neck on all of its maps, the decoder's two convolutions on the two finest maps, and the keys of
    the matching memory.

    `padded`: see `EncoderConfig.flops`.
    """
    size, d = config.image_size, config.d_model
    sides = [size // stride for stride in STRIDES]
    channels = config.encoder.channels
    neck = sum(linear_flops(side**2, c, d) for side, c in zip(sides, channels, strict=False))
    keys = 0
    if config.matching is not None:
        keys = sum(
            linear_flops(sides[level] ** 2, channels[level], config.matching.channels) for level in (1, 2)
        )
    return (
        config.encoder.flops(size, padded)
        + neck
        + keys
        + linear_flops(sides[0] ** 2, d, d // 8)
        + linear_flops(sides[1] ** 2, d, d // 4)
    )


def memory_attention_flops(config: ModelConfig, bank: BankSize) -> int:
    """Self-attention, cross-attention to the bank and feed-forward of all layers, for one object."""
    n, d, c = config.grid**2, config.d_model, config.mem_dim
    memories = bank.tokens(config)
    cross = 2 * linear_flops(n, d, d) + 2 * linear_flops(memories, c, d) + attention_flops(n, memories, d)
    return config.memory_attention_layers * (_self_attention(config) + cross + _feed_forward(config))


def rewritten_memory_attention_flops(config: ModelConfig, bank: BankSize, axial_keys: bool = True) -> int:
    """Memory attention with the value projection applied after attention and folded into the output projection.

    Keys are projected once, when a memory is written; or, with `axial_keys`, never if that is cheaper: see
    engine/kernels/cpp/grid_attention.cpp.
    """
    n, d, c = config.grid**2, config.d_model, config.mem_dim
    memories = bank.tokens(config)
    written = bank.frame_tokens(config, 1)
    to_memory = linear_flops(written, c, d) + attention_flops(n, memories, d, c)
    if axial_keys:
        side = config.grid // bank.pooling
        asked = linear_flops(n, d // 2, 2 * side * (c + 1)) + linear_flops(n, d, c + 1)
        to_memory = min(to_memory, asked + attention_flops(n, memories, c))
    cross = linear_flops(n, d, d) + to_memory + linear_flops(n, c, d)
    return config.memory_attention_layers * (_self_attention(config) + cross + _feed_forward(config))


def matching_flops(config: ModelConfig, bank: BankSize, objects: int = 1) -> int:
    """Comparison of all cells at stride 8 with prompted frames, and within windows with recent frames.

    Args:
        config: of a model with or without a matching memory.
        bank: of it, `conditioning` prompted frames count; recent ones are as many as the model keeps.
        objects: with a mask on all of these frames; 0 = only what is the same for any number of objects.
    """
    if config.matching is None:
        return 0
    cells, c = 4 * config.grid**2, config.matching.channels
    pairs = bank.conditioning * cells**2
    pairs += config.matching.recents * cells_in_windows(2 * config.grid, config.matching.radius)
    return linear_flops(pairs, c + 2, 1) + linear_flops(pairs, 1, 2 * objects)


def _evidence_flops(config: ModelConfig) -> int:
    """Embedding of what the matching memory has found."""
    if config.matching is None:
        return 0
    n, d, hidden = config.grid**2, config.d_model, config.matching.hidden
    narrow = linear_flops(4 * n, 9 * EVIDENCE, hidden) + linear_flops(4 * n, 9 * hidden, hidden)
    return narrow + linear_flops(n, 4 * hidden, d) + linear_flops(4 * n, hidden, d // 4 + d // 8)


def decoder_flops(config: ModelConfig) -> int:
    """Two-way transformer, up-scaling and heads, on a frame without prompts, and the embedding of evidence."""
    n, t, d = config.grid**2, PROMPT_TOKENS, config.d_model
    half = d // 2
    to_image = 2 * linear_flops(t, d, half) + 2 * linear_flops(n, d, half) + attention_flops(t, n, half)
    to_tokens = 2 * linear_flops(n, d, half) + 2 * linear_flops(t, d, half) + attention_flops(n, t, half)
    within = 4 * linear_flops(t, d, d) + attention_flops(t, t, d)
    layer = within + to_image + 2 * linear_flops(t, d, config.mask_decoder_ffn) + to_tokens
    upscale = (
        linear_flops(n, d, 4 * (d // 4))
        + linear_flops(4 * n, d // 4, 4 * (d // 8))
        + linear_flops(16 * n, d // 8, 4)
    )
    weights = 4 * (2 * linear_flops(1, d, d) + linear_flops(1, d, d // 8))
    hidden = config.head_hidden
    iou = linear_flops(1, d, hidden) + linear_flops(1, hidden, hidden) + linear_flops(1, hidden, 4)
    presence, pointer = 2 * linear_flops(1, d, d) + linear_flops(1, d, 1), 3 * linear_flops(1, d, d)
    heads = weights + iou + presence + pointer
    return 2 * layer + to_image + upscale + heads + _evidence_flops(config)


def memory_encoder_flops(config: ModelConfig) -> int:
    """Mask down-sampler, fuser and projections, for one object."""
    n, d = config.grid**2, config.d_model
    down, side, channels = 0, config.image_size, 1
    for _ in range(4):
        side //= 2
        down += linear_flops(side**2, 9 * channels, 4 * channels)
        channels *= 4
    fuser = 2 * (linear_flops(n, 49, d) + 2 * linear_flops(n, d, 4 * d))
    return (
        down
        + linear_flops(n, channels, d)
        + linear_flops(n, d, d)
        + fuser
        + linear_flops(n, d, config.mem_dim)
    )


def _folded_skips(config: ModelConfig) -> int:
    """Operations saved at strides 4 and 8 by merging two successive 1 x 1 convolutions into one."""
    d, saved = config.d_model, 0
    for stride, c, narrow in zip((4, 8), config.encoder.channels, (d // 8, d // 4), strict=False):
        n = (config.image_size // stride) ** 2
        saved += linear_flops(n, c, d) + linear_flops(n, d, narrow) - linear_flops(n, c, narrow)
    return saved


def _self_attention(config: ModelConfig) -> int:
    n, d = config.grid**2, config.d_model
    return 4 * linear_flops(n, d, d) + attention_flops(n, n, d)


def _feed_forward(config: ModelConfig) -> int:
    return 2 * linear_flops(config.grid**2, config.d_model, config.memory_attention_ffn)
