# SPDX-License-Identifier: Apache-2.0
"""Interface of image encoders. Each kind is one file beside this one, such as hiera.py.

Does not know any kind. To add one, write its file, and name its configuration in engine/config.py for a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import nn

STRIDES = (4, 8, 16, 32)
PREFIX = "image_encoder.trunk."  # of the encoder's tensors in a model's state dict


class GlobalAttention(NamedTuple):
    """Sizes of an attention of all tokens of a map to each other."""

    heads: int
    tokens: int
    channels: int  # per head


class EncoderConfig(ABC):
    """Sizes of an image encoder: a frozen dataclass of numbers that builds its module."""

    transformers_names: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of tensor names: official, after `PREFIX`, and in transformers' port; see transformers_layout.py."""

    @property
    @abstractmethod
    def channels(self) -> tuple[int, ...]:
        """Channels of the output maps, at the first three of `STRIDES` or all four."""

    @abstractmethod
    def build(self) -> ImageEncoder:
        """The module, with its constructor's initial weights."""

    @abstractmethod
    def matches(self, state: Mapping[str, torch.Tensor]) -> bool:
        """True if a model's state dict has an encoder of these sizes."""

    @abstractmethod
    def flops(self, image_size: int, padded: bool = True) -> int:
        """Floating-point operations for one square image of this side; `padded`: with those spent on padding tokens."""

    def global_attentions(self, image_size: int) -> Iterable[GlobalAttention]:
        """The large attentions, for which GPU kernels are timed when a model is loaded."""
        return ()


class ImageEncoder(nn.Module, ABC):
    """``[b, 3, H, W] ->`` maps ``[b, c, h, w]`` at the first three of `STRIDES` or all four."""

    @property
    @abstractmethod
    def layer_count(self) -> int:
        """Number of layers, each with its own learning rate, for layer-wise decay."""

    @abstractmethod
    def layer_of(self, name: str) -> int | None:
        """The layer of a parameter: 0.., or -1 before the first layer; None = its learning rate is not decayed."""

    @abstractmethod
    def prepare(self, image_size: int) -> None:
        """Precompute what depends only on weights and image size; called on a copy, see `kernels.prepare`."""

    def is_pretrained(self, name: str) -> bool:
        """True for parameters that a training starts with weights of another task: they learn more slowly."""
        return False

    def initialise(self) -> None:
        """Set initial weights for training from scratch, where the constructor's are not good. Without gradients."""


def linear_flops(tokens: int, c_in: int, c_out: int) -> int:
    """Operations of a linear layer, or of a 1 x 1 convolution, on `tokens` tokens: two per multiply-add."""
    return 2 * tokens * c_in * c_out


def attention_flops(queries: int, keys: int, channels: int, value_channels: int | None = None) -> int:
    """Operations of an attention, scores and averages; `channels` over all heads together."""
    return 2 * queries * keys * (channels + (channels if value_channels is None else value_channels))
