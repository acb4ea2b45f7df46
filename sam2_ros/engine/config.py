# SPDX-License-Identifier: Apache-2.0
"""The shapes of the SAM 2 family, from nano to large.

Frozen numbers only; does not know weights, files or devices. Numbers of image encoders are in the encoders' files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .model.hiera import HieraConfig
from .model.image_encoder import EncoderConfig


@dataclass(frozen=True)
class ModelConfig:
    """One member of the SAM 2 family.

    The defaults are those of the official models; only `nano` changes the widths.

    Attributes:
        name: nano, tiny, small, base_plus or large.
        encoder: the image encoder, of any kind.
        version: "2.0" or "2.1". 2.1 adds a temporal encoding to object pointers and an embedding of
            "object absent" to memories.
        image_size: side of the square input, pixels.
        d_model: channels of features, tokens and pointers.
        mem_dim: channels of a spatial memory.
        num_maskmem: memory frames with a temporal encoding of their own: conditioning + recents.
        max_pointers: frames whose object pointers are attended to.
    """

    name: str
    encoder: EncoderConfig
    version: str = "2.1"
    image_size: int = 1024
    d_model: int = 256
    mem_dim: int = 64
    num_maskmem: int = 7
    max_pointers: int = 16
    memory_attention_layers: int = 4
    memory_attention_ffn: int = 2048
    mask_decoder_heads: int = 8
    mask_decoder_ffn: int = 2048
    head_hidden: int = 256

    def __post_init__(self) -> None:
        if self.version not in ("2.0", "2.1"):
            raise ValueError(f"model version {self.version!r}: expected '2.0' or '2.1'")
        if self.image_size % 32:
            raise ValueError(f"image_size {self.image_size}: expected a multiple of 32")
        if self.d_model % self.mem_dim:
            raise ValueError(f"d_model {self.d_model}: expected a multiple of mem_dim {self.mem_dim}")

    @property
    def grid(self) -> int:
        """Side of the stride-16 token grid."""
        return self.image_size // 16

    @property
    def mask_side(self) -> int:
        """Side of low-resolution mask logits."""
        return self.image_size // 4

    def at_image_size(self, image_size: int) -> ModelConfig:
        """The same weights' shape at another input size."""
        return replace(self, image_size=image_size)


NANO = ModelConfig(
    name="nano",
    encoder=HieraConfig(48, 1, (1, 3, 4, 1), (4, 5, 6, 7), (8, 16, 8, 8), (8, 8)),
    image_size=384,
    d_model=128,
    mem_dim=64,
    memory_attention_layers=2,
    memory_attention_ffn=512,
    mask_decoder_heads=4,
    mask_decoder_ffn=512,
    head_hidden=128,
)
TINY = ModelConfig("tiny", HieraConfig(96, 1, (1, 2, 7, 2), (5, 7, 9), (8, 4, 14, 7), (7, 7)))
SMALL = ModelConfig("small", HieraConfig(96, 1, (1, 2, 11, 2), (7, 10, 13), (8, 4, 14, 7), (7, 7)))
BASE_PLUS = ModelConfig(
    "base_plus", HieraConfig(112, 2, (2, 3, 16, 3), (12, 16, 20), (8, 4, 14, 7), (14, 14))
)
LARGE = ModelConfig("large", HieraConfig(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), (7, 7)))

OFFICIAL = {config.name: config for config in (TINY, SMALL, BASE_PLUS, LARGE)}
FAMILY = {"nano": NANO, **OFFICIAL}
"""Every member by name: what is recognised, loaded and trained."""


def config_for(name: str, version: str = "2.1") -> ModelConfig:
    """The configuration of a family member by name.

    Raises:
        ValueError: no such member.
    """
    if name not in FAMILY:
        raise ValueError(f"model {name!r}: expected one of {', '.join(FAMILY)}")
    return replace(FAMILY[name], version=version)
