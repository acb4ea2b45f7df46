# SPDX-License-Identifier: Apache-2.0
"""Configurations of the SAM 2 models, from nano to large: sizes of every part.

Frozen numbers only. Does not know weights, files or devices. Fields of image encoders are in the encoders' files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .model.hiera import HieraConfig
from .model.image_encoder import EncoderConfig
from .model.lite import LiteConfig
from .model.matching import MatchingConfig


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of one SAM 2 model. The defaults are those of the official models; only those of nano differ.

    Attributes:
        name: nano, nano1, tiny, small, base_plus or large.
        encoder: the image encoder, of any kind.
        version: "2.0" or "2.1". 2.1 adds a temporal encoding to object pointers, and an embedding to the memories of
            frames on which the object is absent.
        image_size: side of the square input, pixels; a multiple of 32.
        d_model: channels of features, tokens and pointers; a multiple of `mem_dim`.
        mem_dim: channels of a spatial memory.
        num_maskmem: rows of the temporal table: one for conditioning frames, the others for recent frames by age.
        max_pointers: most frames whose object pointers are attended to.
        memory_attention_layers: layers of memory attention.
        memory_attention_ffn: hidden channels of their feed-forward networks.
        mask_decoder_heads: attention heads of the mask decoder.
        mask_decoder_ffn: hidden channels of its MLPs.
        head_hidden: hidden channels of the head that predicts IoUs.
        recent_memories: recent frames, of `num_maskmem` - 1 at most, whose spatial memories the model was trained with.
        recent_pointers: likewise, recent frames of `max_pointers` - 1 whose object pointers are attended to.
        best_of_three: True: the mask of a frame that is only tracked is the candidate of 1..3 with the highest
            predicted IoU, as in SAM 2. False: candidate 0.
        prompt_maps: False: clicks and boxes are tokens alone, as in SAM 2. True: they are also drawn into the dense
            prompt, and a mask reaches little beyond its box, see `PromptEncoder.drawn` and `within_reach`.
        zoom_in: on single images, the answer to clicks or a box is decoded again on a crop around it, this many times
            as wide as the object, see `zoom_in.py`; 0 = not, as in SAM 2.
        matching: sizes of the dense matching memory; None = the model has none, like the official ones.

    Raises:
        ValueError: a version or a size that is not possible.
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
    recent_memories: int = 6
    recent_pointers: int = 15
    best_of_three: bool = True
    prompt_maps: bool = False
    zoom_in: float = 0.0
    matching: MatchingConfig | None = None

    def __post_init__(self) -> None:
        if self.version not in ("2.0", "2.1"):
            raise ValueError(f"model version {self.version!r}: expected '2.0' or '2.1'")
        if self.image_size % 32:
            raise ValueError(f"image_size {self.image_size}: expected a multiple of 32")
        if self.d_model % self.mem_dim:
            raise ValueError(f"d_model {self.d_model}: expected a multiple of mem_dim {self.mem_dim}")
        for name, most in (
            ("recent_memories", self.num_maskmem - 1),
            ("recent_pointers", self.max_pointers - 1),
        ):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} {getattr(self, name)}: expected 0..{most}")

    @property
    def grid(self) -> int:
        """Side of the grid of tokens at stride 16, called `side` in shapes."""
        return self.image_size // 16

    @property
    def mask_side(self) -> int:
        """Side of low-resolution mask logits, at stride 4."""
        return self.image_size // 4

    @property
    def memory_tokens(self) -> int:
        """Tokens to which memory attention attends with one prompted frame and all recent ones."""
        pieces = self.d_model // self.mem_dim
        return (1 + self.recent_memories) * self.grid**2 + (1 + self.recent_pointers) * pieces

    def at_image_size(self, image_size: int) -> ModelConfig:
        """The same model for another input size; weights fit both."""
        return replace(self, image_size=image_size)


NANO1 = ModelConfig(
    name="nano1",
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
NANO = replace(
    NANO1,
    name="nano",
    encoder=LiteConfig(),
    image_size=448,
    recent_memories=0,
    recent_pointers=0,
    best_of_three=False,
    prompt_maps=True,
    zoom_in=2.0,
    matching=MatchingConfig(),
)
TINY = ModelConfig("tiny", HieraConfig(96, 1, (1, 2, 7, 2), (5, 7, 9), (8, 4, 14, 7), (7, 7)))
SMALL = ModelConfig("small", HieraConfig(96, 1, (1, 2, 11, 2), (7, 10, 13), (8, 4, 14, 7), (7, 7)))
BASE_PLUS = ModelConfig(
    "base_plus", HieraConfig(112, 2, (2, 3, 16, 3), (12, 16, 20), (8, 4, 14, 7), (14, 14))
)
LARGE = ModelConfig("large", HieraConfig(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), (7, 7)))

OFFICIAL = {config.name: config for config in (TINY, SMALL, BASE_PLUS, LARGE)}
FAMILY = {"nano": NANO, "nano1": NANO1, **OFFICIAL}
"""Every model by name, as recognised, loaded and trained. nano1: nano of version 0.1.0, without weights here."""


def config_for(name: str, version: str = "2.1") -> ModelConfig:
    """The configuration of a model by its name.

    Args:
        name: nano, tiny, small, base_plus or large.
        version: "2.0" or "2.1".

    Raises:
        ValueError: no such model or version.
    """
    if name not in FAMILY:
        raise ValueError(f"model {name!r}: expected one of {', '.join(FAMILY)}")
    return replace(FAMILY[name], version=version)
