# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 up to stride 16 with attention blocks on top: an image encoder for CPUs (arXiv 1905.11946).

Maps an image to three feature maps. Does not know what they are used for, nor where its first weights come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .hiera import Block, smooth_waves
from .image_encoder import PREFIX, EncoderConfig, GlobalAttention, ImageEncoder, attention_flops, linear_flops

STEM = PREFIX + "stem.weight"
POSITION_SIDE = 12  # of the position table that is resized to the grid at stride 16


class Stage(NamedTuple):
    """Inverted bottlenecks of one width; the first one has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM_CHANNELS = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
)
"""EfficientNet-Lite0 without its last two stages, which are at stride 32; no squeeze-and-excitation."""
TAPS = (2, 4, 10)  # blocks whose outputs are the maps at strides 4, 8 and 16


@dataclass(frozen=True)
class LiteConfig(EncoderConfig):
    """EfficientNet-Lite0, then attention over the whole grid at stride 16, for context that convolutions do not reach.

    Attributes:
        dim: channels of the attention blocks, and of the map at stride 16.
        heads: their attention heads.
        depth: their number.
    """

    dim: int = 192
    heads: int = 4
    depth: int = 3

    @property
    def channels(self) -> tuple[int, ...]:
        return STAGES[1].channels, STAGES[2].channels, self.dim

    def build(self) -> Lite:
        return Lite(self)

    def matches(self, state: Mapping[str, torch.Tensor]) -> bool:
        depth = len({key.split(".")[3] for key in state if key.startswith(PREFIX + "attention.")})
        widths = state.get(PREFIX + "widen.weight", torch.empty(0)).shape[:1]
        return STEM in state and (*widths, depth) == (self.dim, self.depth)

    def flops(self, image_size: int, padded: bool = True) -> int:
        side, c_in = image_size // 2, STEM_CHANNELS
        total = linear_flops(side**2, 3 * 3 * 3, c_in)
        for stage in STAGES:
            for index in range(stage.blocks):
                hidden = c_in * stage.expansion
                total += linear_flops(side**2, c_in, hidden) if stage.expansion > 1 else 0
                side //= stage.stride if index == 0 else 1
                total += 2 * side**2 * hidden * stage.kernel**2
                total += linear_flops(side**2, hidden, stage.channels)
                c_in = stage.channels
        tokens = side**2
        block = 12 * linear_flops(tokens, self.dim, self.dim) + attention_flops(tokens, tokens, self.dim)
        return total + linear_flops(tokens, c_in, self.dim) + self.depth * block

    def global_attentions(self, image_size: int) -> list[GlobalAttention]:
        return [GlobalAttention(self.heads, (image_size // 16) ** 2, self.dim // self.heads)]


class SameConv(nn.Conv2d):
    """A convolution padded as in TensorFlow ("SAME"): with stride 2 and even sides one pixel more at the end."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, stride, (kernel - 1) // 2, groups=groups)

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        if self.stride[0] == 1:
            return super().forward(x_bchw)
        low, high = self.kernel_size[0] // 2 - 1, self.kernel_size[0] // 2
        x = F.pad(x_bchw, (low, high, low, high))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


class InvertedBottleneck(nn.Module):
    """Widen, depth-wise convolution, narrow; with a shortcut if the shape stays. Norms are folded into the weights."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        self.expand = SameConv(c_in, hidden, 1) if expansion > 1 else None
        self.depthwise = SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = SameConv(hidden, c_out, 1)
        self.shortcut = stride == 1 and c_in == c_out

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        y = x_bchw if self.expand is None else _relu6(self.expand(x_bchw))
        y = self.project(_relu6(self.depthwise(y)))
        return x_bchw + y if self.shortcut else y


class Lite(ImageEncoder):
    """``[b, 3, H, W] ->`` three maps ``[b, c, h, w]`` at strides 4, 8 and 16."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM_CHANNELS, 3, 2)
        blocks, c_in = [], STEM_CHANNELS
        for stage in STAGES:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedBottleneck(c_in, stage.channels, stage.kernel, stride, stage.expansion))
                c_in = stage.channels
        self.blocks = nn.ModuleList(blocks)
        self.widen = nn.Conv2d(c_in, config.dim, 1)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.dim, POSITION_SIDE, POSITION_SIDE))
        self.attention = nn.ModuleList(
            Block(config.dim, config.dim, config.heads, window=0, pool_queries=False)
            for _ in range(config.depth)
        )
        self.prepared_position: torch.Tensor | None = None

    @property
    def layer_count(self) -> int:
        return len(self.blocks) + len(self.attention)

    def layer_of(self, name: str) -> int | None:
        if "pos_embed" in name:
            return None
        if name.startswith("blocks."):
            return int(name.split(".")[1])
        if name.startswith("attention."):
            return len(self.blocks) + int(name.split(".")[1])
        return -1 if name.startswith("stem.") else len(self.blocks)

    def is_pretrained(self, name: str) -> bool:
        return name.startswith(("stem.", "blocks."))

    def initialise(self) -> None:
        self.pos_embed.copy_(smooth_waves(self.pos_embed.shape[1], self.pos_embed.shape[2]))

    def prepare(self, image_size: int) -> None:
        """Resize the position table once, for square images of this size."""
        self.prepared_position = self.position((image_size // 16, image_size // 16)).detach()

    def position(self, hw: tuple[int, int]) -> torch.Tensor:
        """The position table resized to the grid, ``[1, dim, h, w]``."""
        return F.interpolate(self.pos_embed, size=hw, mode="bicubic")

    def forward(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        x = _relu6(self.stem(image_b3hw.contiguous(memory_format=torch.channels_last)))
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPS:
                maps.append(x)
        position = self.prepared_position
        if position is None or position.shape[2:] != x.shape[2:]:
            position = self.position((x.shape[2], x.shape[3]))
        x = (self.widen(x) + position).permute(0, 2, 3, 1)
        for block in self.attention:
            x = block(x)
        return [*maps[:2], x.permute(0, 3, 1, 2)]


def _relu6(x: torch.Tensor) -> torch.Tensor:
    return F.relu6(x)
