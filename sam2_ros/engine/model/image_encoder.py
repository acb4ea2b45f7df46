# SPDX-License-Identifier: Apache-2.0
"""Interface of image encoders. Each kind is a file of its own beside this one, such as hiera.py.

Knows no kind. A new one is named in engine/config.py by a member of the family that has it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import nn

STRIDES = (4, 8, 16, 32)
PREFIX = "image_encoder.trunk."  # of its tensors in a model's state dict


class GlobalAttention(NamedTuple):
    """Attention of all tokens of a map to each other."""

    heads: int
    tokens: int
    channels: int  # of a head


class EncoderConfig(ABC):
    """The shape of an image encoder: a frozen dataclass of numbers that knows its module."""

    transformers_names: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Official names of its tensors after `PREFIX`, and those of transformers' port; see transformers_layout.py."""

    @property
    @abstractmethod
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of its four maps, at `STRIDES`."""

    @abstractmethod
    def build(self) -> ImageEncoder:
        """The module, with the values of its constructor."""

    @abstractmethod
    def matches(self, state: Mapping[str, torch.Tensor]) -> bool:
        """Whether a model's state dict has an encoder of this shape."""

    @abstractmethod
    def flops(self, image_size: int, padded: bool = True) -> int:
        """Floating-point operations of an image; without `padded`, those that filling tokens up takes are left out."""

    def global_attentions(self, image_size: int) -> Iterable[GlobalAttention]:
        """The large attentions, for which a GPU's kernel is chosen when a model is loaded."""
        return ()


class ImageEncoder(nn.Module, ABC):
    """``[b, 3, H, W] ->`` four maps ``[b, c, h, w]`` at `STRIDES`."""

    @property
    @abstractmethod
    def layer_count(self) -> int:
        """Layers with a learning rate each, for layer-wise decay."""

    @abstractmethod
    def layer_of(self, name: str) -> int | None:
        """The layer of a parameter, from -1 (before the first one) on; None: its rate is not decayed."""

    @abstractmethod
    def prepare(self, image_size: int) -> None:
        """Do once what depends on weights and the size of images alone; called on a copy, see `kernels.prepare`."""

    def initialise(self) -> None:
        """Starting values for training from scratch, where its constructor's are not good ones. Without gradients."""


def linear_flops(tokens: int, c_in: int, c_out: int) -> int:
    """A linear layer, or a 1 x 1 convolution, on so many tokens: two operations for each multiply-add."""
    return 2 * tokens * c_in * c_out


def attention_flops(queries: int, keys: int, channels: int, value_channels: int | None = None) -> int:
    """Scores and averages of all heads together: `channels` is their sum."""
    return 2 * queries * keys * (channels + (channels if value_channels is None else value_channels))
