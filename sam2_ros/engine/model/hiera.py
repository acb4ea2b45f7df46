# SPDX-License-Identifier: Apache-2.0
"""Hiera, the image encoder's trunk: windowed attention in four stages (SAM 2 paper, section 4; arXiv 2306.00989).

Maps an image to four feature maps. Does not know what they are used for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn

from sam2_ros.engine.kernels.attention import attend, window_kernels
from sam2_ros.engine.kernels.cpu import Kernels
from sam2_ros.engine.kernels.layers import MLP, Linear, eager_on_cpu

from .image_encoder import (
    PREFIX,
    EncoderConfig,
    GlobalAttention,
    ImageEncoder,
    attention_flops,
    linear_flops,
)

STRIP_TOKENS = 8192  # about as many tokens of a map go through a block at a time on a CPU, see `strip_rows`
PATCH_EMBED = PREFIX + "patch_embed.proj.weight"
BLOCKS = PREFIX + "blocks."
WAVE_AMPLITUDE = 0.4  # of the position table when a training starts from scratch


@dataclass(frozen=True)
class HieraConfig(EncoderConfig):
    """Sizes of a Hiera trunk (arXiv 2306.00989).

    Attributes:
        embed_dim: channels of the first stage; they double at each later stage.
        num_heads: attention heads of the first stage; they double with the channels.
        stages: blocks of each stage; stages run at strides 4, 8, 16, 32.
        global_blocks: indices of blocks that attend over the whole grid instead of windows.
        window_spec: side of the windows of each stage, tokens.
        pos_embed_background: (height, width) of the position table that is resized to the grid.
    """

    embed_dim: int
    num_heads: int
    stages: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    window_spec: tuple[int, int, int, int]
    pos_embed_background: tuple[int, int]

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the four outputs, at strides 4, 8, 16, 32."""
        c = self.embed_dim
        return c, 2 * c, 4 * c, 8 * c

    transformers_names = (
        ("pos_embed", "pos_embed"),
        ("pos_embed_window", "pos_embed_window"),
        ("patch_embed.proj.*", "patch_embed.projection.*"),
        *(
            (f"blocks.#.{ours}.*", f"blocks.#.{theirs}.*")
            for ours, theirs in (
                ("attn.qkv", "attn.qkv"),
                ("attn.proj", "attn.proj"),
                ("proj", "proj"),
                ("norm1", "layer_norm1"),
                ("norm2", "layer_norm2"),
                ("mlp.layers.0", "mlp.proj_in"),
                ("mlp.layers.1", "mlp.proj_out"),
            )
        ),
    )

    def build(self) -> Hiera:
        return Hiera(self)

    def matches(self, state: Mapping[str, torch.Tensor]) -> bool:
        return (self.embed_dim, sum(self.stages)) == shape_of(state)

    def global_attentions(self, image_size: int) -> list[GlobalAttention]:
        """The global attentions of the third stage."""
        channels = self.embed_dim // self.num_heads
        return [GlobalAttention(4 * self.num_heads, (image_size // 16) ** 2, channels)]

    def flops(self, image_size: int, padded: bool = True) -> int:
        """See `EncoderConfig.flops`. Padding of windows beyond the grid: with `padded` it is projected and is queries;
        in either case it is keys."""
        side, dim = image_size // 4, self.embed_dim
        total = linear_flops(side**2, 3 * 7 * 7, dim)
        index = 0
        for stage, depth in enumerate(self.stages):
            for position in range(depth):
                halves = stage > 0 and position == 0
                window = self.window_spec[stage - 1 if halves else stage]
                if index in self.global_blocks:
                    window = side
                tokens = (-(-side // window) * window) ** 2 if padded else side**2
                dim_out = 2 * dim if halves else dim
                queries = tokens // 4 if halves else tokens
                total += linear_flops(tokens, dim, 3 * dim_out)
                total += attention_flops(queries, window**2, dim_out)
                total += linear_flops(queries, dim_out, dim_out)
                if halves:
                    total += linear_flops(side**2, dim, dim_out)  # the shortcut, before it is pooled
                    side //= 2
                total += 2 * linear_flops(side**2, dim_out, 4 * dim_out)
                dim = dim_out
                index += 1
        return total


def shape_of(state: Mapping[str, torch.Tensor]) -> tuple[int, int] | None:
    """Channels and number of blocks of the Hiera trunk in a model's state dict; None if there is none."""
    patch_embed = state.get(PATCH_EMBED)
    if patch_embed is None:
        return None
    blocks = {key.removeprefix(BLOCKS).split(".")[0] for key in state if key.startswith(BLOCKS)}
    return patch_embed.shape[0], len(blocks)


def split_windows(x_bhwc: torch.Tensor, window: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Split a map into square windows, after zero-padding it to a multiple of the side.

    Args:
        x_bhwc: ``[b, h, w, c]``.
        window: side of a window, tokens.

    Returns:
        ``[b * windows, window, window, c]`` and the padded (height, width).
    """
    b, h, w, c = x_bhwc.shape
    pad_h, pad_w = -h % window, -w % window
    if pad_h or pad_w:
        x_bhwc = F.pad(x_bhwc, (0, 0, 0, pad_w, 0, pad_h))
    ph, pw = h + pad_h, w + pad_w
    x = x_bhwc.view(b, ph // window, window, pw // window, window, c)
    # Made contiguous, as a single row of windows would stay a strided view, for which linear layers copy their
    # weights once per window.
    return x.transpose(2, 3).reshape(-1, window, window, c).contiguous(), (ph, pw)


def join_windows(
    x_nwwc: torch.Tensor, window: int, padded_hw: tuple[int, int], hw: tuple[int, int]
) -> torch.Tensor:
    """Undo `split_windows` and crop the padding: ``[b, h, w, c]``."""
    ph, pw = padded_hw
    b = x_nwwc.shape[0] // (ph * pw // window // window)
    x = x_nwwc.view(b, ph // window, pw // window, window, window, -1).transpose(2, 3)
    return x.reshape(b, ph, pw, -1)[:, : hw[0], : hw[1]]


@lru_cache(64)
def window_rows(b: int, height: int, width: int, window: int) -> torch.Tensor:
    """Index of each token of each window in the flattened map: ``[windows, window * window]`` int32.

    The map has ``b * height * width`` tokens. -1 for tokens of a window beyond the last row or column.
    """
    rows, columns = (torch.arange(-(-side // window) * window, device="cpu") for side in (height, width))
    places = rows[:, None] * width + columns
    places[rows >= height] = places[:, columns >= width] = -1
    first = torch.arange(b, device="cpu")[:, None, None] * height * width
    images = torch.where(places < 0, places, first + places)
    windows = images.view(b, -1, window, images.shape[2] // window, window).transpose(2, 3)
    return windows.reshape(-1, window * window).to(torch.int32)


def pool2x2(x_bhwc: torch.Tensor) -> torch.Tensor:
    """2 x 2 max pooling, ``[b, h, w, c] -> [b, h // 2, w // 2, c]``; an odd last row or column is dropped."""
    h, w = x_bhwc.shape[1] // 2 * 2, x_bhwc.shape[2] // 2 * 2
    upper, lower = x_bhwc[:, 0:h:2, :w], x_bhwc[:, 1:h:2, :w]
    rows = torch.maximum(upper, lower)
    return torch.maximum(rows[:, :, 0::2], rows[:, :, 1::2])


def strip_rows(x_bhwc: torch.Tensor, window: int) -> int:
    """Rows of a map that go through a windowed block at a time: whole windows; on a CPU a few of them, else all.

    Intermediate results of a strip stay in the cache, and their memory is reused by the next strip. Those of the whole
    map are tens of megabytes each at 1024 x 1024, which the allocator requests from the system again every time. Not
    for a compiler: it plans memory itself, and its run time grows with the number of strips.
    """
    height, width = x_bhwc.shape[1:3]
    if window == 0 or not eager_on_cpu(x_bhwc) or height * width <= 2 * STRIP_TOKENS:
        return height
    return window * max(1, STRIP_TOKENS // (window * width))


class WindowAttention(nn.Module):
    """Self-attention within each window, optionally with queries pooled 2 x 2."""

    def __init__(self, dim: int, dim_out: int, num_heads: int, pool_queries: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.pool_queries = pool_queries
        self.qkv = Linear(dim, 3 * dim_out)
        self.proj = Linear(dim_out, dim_out)

    def forward(self, x_bhwc: torch.Tensor, window: int) -> torch.Tensor:
        """``[b, h, w, c] -> [b, h, w, dim_out]``, half as high and wide with pooled queries.

        `window`: side of the windows, tokens; 0 = the whole map.
        """
        if window == 0:
            return self._attend(x_bhwc)
        kernels = self._kernels(x_bhwc, window)
        if kernels is not None:
            return self._attend_in_place(kernels, x_bhwc, window)
        windows, (height, width) = split_windows(x_bhwc, window)
        found, hw = self._attend(windows), (x_bhwc.shape[1], x_bhwc.shape[2])
        if self.pool_queries:
            window, height, width, hw = window // 2, height // 2, width // 2, (hw[0] // 2, hw[1] // 2)
        return join_windows(found, window, (height, width), hw)

    def _attend(self, x_nwwc: torch.Tensor) -> torch.Tensor:
        n, h, w, _ = x_nwwc.shape
        qkv = self.qkv(x_nwwc).view(n, h * w, 3, self.num_heads, -1)
        q, k, v = qkv.unbind(2)
        if self.pool_queries:
            q = pool2x2(q.reshape(n, h, w, -1))
            h, w = q.shape[1:3]
            q = q.reshape(n, h * w, self.num_heads, -1)
        x = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return self.proj(x.transpose(1, 2).reshape(n, h, w, -1))

    def _kernels(self, x_bhwc: torch.Tensor, window: int) -> Kernels | None:
        """The CPU kernels that attend to windows without copying them; None if they do not support this call.

        With pooled queries all sides must be even.
        """
        pool = 2 if self.pool_queries else 1
        if any(side % pool for side in (*x_bhwc.shape[1:3], window)) or self.qkv.weight.requires_grad:
            return None
        return window_kernels(x_bhwc, (window // pool) ** 2, window**2)

    def _attend_in_place(self, kernels: Kernels, x_bhwc: torch.Tensor, window: int) -> torch.Tensor:
        """Attend to windows without copying them. A padded token, which would be zeros, is the projections' bias."""
        b, h, w, _ = x_bhwc.shape
        q, k, v = self.qkv(x_bhwc).view(b * h * w, 3, self.num_heads, -1).unbind(1)
        query_rows = key_rows = window_rows(b, h, w, window)
        if self.pool_queries:
            q = pool2x2(q.reshape(b, h, w, -1)).reshape(b * h * w // 4, self.num_heads, -1)
            h, w = h // 2, w // 2
            query_rows = window_rows(b, h, w, window // 2)
        filling = self.qkv.bias.to(q.dtype).view(3, self.num_heads, -1)
        found = kernels.attend_in_windows(q, k, v, query_rows, key_rows, filling)
        return self.proj(found.view(b, h, w, -1))


class Block(nn.Module):
    """Pre-norm transformer block, ``[b, h, w, dim] -> [b, h, w, dim_out]``.

    The first block of a later stage doubles the channels and halves the grid.
    """

    def __init__(self, dim: int, dim_out: int, num_heads: int, window: int, pool_queries: bool) -> None:
        super().__init__()
        self.window = window
        self.pool_queries = pool_queries
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = WindowAttention(dim, dim_out, num_heads, pool_queries)
        self.norm2 = nn.LayerNorm(dim_out, eps=1e-6)
        self.mlp = MLP(dim_out, 4 * dim_out, dim_out, 2, gelu=True)
        self.proj = Linear(dim, dim_out) if dim != dim_out else None

    def forward(self, x_bhwc: torch.Tensor) -> torch.Tensor:
        strips = x_bhwc.split(strip_rows(x_bhwc, self.window), dim=1)
        if len(strips) == 1:
            return self._whole(x_bhwc)
        return torch.cat([self._whole(strip) for strip in strips], dim=1)

    def _whole(self, x_bhwc: torch.Tensor) -> torch.Tensor:
        shortcut = x_bhwc
        x = self.norm1(x_bhwc)
        if self.proj is not None:
            shortcut = self.proj(x)
            if self.pool_queries:
                shortcut = pool2x2(shortcut)
        x = shortcut + self.attn(x, self.window)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """7 x 7 convolution with stride 4: ``[b, 3, H, W] -> [b, H / 4, W / 4, c]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, 7, stride=4, padding=3)

    def forward(self, image_b3hw: torch.Tensor) -> torch.Tensor:
        # Channels last from the start: every layer after this one reads all channels of a token.
        return self.proj(image_b3hw.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)


class Hiera(ImageEncoder):
    """``[b, 3, H, W] ->`` four maps ``[b, c, h, w]`` at strides 4, 8, 16, 32."""

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.embed_dim, *config.pos_embed_background))
        window = config.window_spec[0]
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.embed_dim, window, window))
        self.blocks = nn.ModuleList()
        self.stage_ends: list[int] = []
        dim, heads = config.embed_dim, config.num_heads
        for stage, depth in enumerate(config.stages):
            for position in range(depth):
                index = len(self.blocks)
                first_of_later_stage = stage > 0 and position == 0
                # The first block of a stage uses the windows of the stage before it.
                window = config.window_spec[stage - 1 if first_of_later_stage else stage]
                if index in config.global_blocks:
                    window = 0
                dim_out = 2 * dim if first_of_later_stage else dim
                heads = 2 * heads if first_of_later_stage else heads
                self.blocks.append(Block(dim, dim_out, heads, window, first_of_later_stage))
                dim = dim_out
            self.stage_ends.append(len(self.blocks) - 1)
        self.prepared_position: torch.Tensor | None = None

    @property
    def layer_count(self) -> int:
        return len(self.blocks)

    def layer_of(self, name: str) -> int | None:
        """See `ImageEncoder.layer_of`. The rate of position tables is not decayed."""
        if "pos_embed" in name:
            return None
        return int(name.split(".")[1]) if name.startswith("blocks.") else -1

    def initialise(self) -> None:
        """Set the position table to smooth waves, so that features depend on position from the start; it was zeros."""
        self.pos_embed.copy_(smooth_waves(self.pos_embed.shape[1], self.pos_embed.shape[2]))
        nn.init.trunc_normal_(self.pos_embed_window, std=0.02)

    def prepare(self, image_size: int) -> None:
        """Resize the position table once, for square images of this size: that costs as much as a layer of nano."""
        side = image_size // 4
        self.prepared_position = self.position((side, side)).detach()

    def position(self, hw: tuple[int, int]) -> torch.Tensor:
        """Position encoding ``[1, h, w, c]``: the background table resized to the grid, plus the tiled window table."""
        background = F.interpolate(self.pos_embed, size=hw, mode="bicubic")
        window = self.pos_embed_window
        tiles = [1, 1, -(-hw[0] // window.shape[2]), -(-hw[1] // window.shape[3])]
        return (background + window.tile(tiles)[:, :, : hw[0], : hw[1]]).permute(0, 2, 3, 1).contiguous()

    def forward(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        x = self.patch_embed(image_b3hw)
        position = self.prepared_position
        if position is None or position.shape[1:3] != x.shape[1:3]:
            position = self.position((x.shape[1], x.shape[2]))
        x = x + position
        outputs = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                outputs.append(x.permute(0, 3, 1, 2))
        return outputs


def smooth_waves(channels: int, side: int) -> torch.Tensor:
    """Random plane waves of at most two periods over the image: ``[1, channels, side, side]``."""
    frequency_xy = 4 * torch.rand(channels, 2) - 2
    centres = (torch.arange(side) + 0.5) / side
    cycles = frequency_xy[:, 1, None, None] * centres[:, None] + frequency_xy[:, 0, None, None] * centres
    phase = torch.rand(channels, 1, 1)
    return WAVE_AMPLITUDE * (2 * math.pi * (cycles + phase)).sin()[None]
