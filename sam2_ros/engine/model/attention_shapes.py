# SPDX-License-Identifier: Apache-2.0
"""Lists the large attentions of a tracked frame: the shapes for which GPU kernels are timed.

Does not know which kernels exist.
"""

from __future__ import annotations

from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.kernels.gpu import SMALL_ATTENTION, Shape


def large_attentions(config: ModelConfig) -> list[Shape]:
    """The large attentions of a tracked frame with a full memory: those of the encoder, then of memory attention."""
    tokens, d = config.grid**2, config.d_model
    in_encoder = config.encoder.global_attentions(config.image_size)
    shapes = [
        *(Shape(each.heads, each.tokens, each.tokens, each.channels, each.channels) for each in in_encoder),
        Shape(1, tokens, tokens, d, d),
        Shape(1, tokens, config.memory_tokens, d, d),
        Shape(1, tokens, config.memory_tokens, d, config.mem_dim),
    ]
    return [shape for shape in shapes if shape.queries * shape.keys > SMALL_ATTENTION]
