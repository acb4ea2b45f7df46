# SPDX-License-Identifier: Apache-2.0
"""Axial rotary position embedding in real numbers, and the sine encodings of positions and time.

Pure functions of grid sizes and channels; their tables are cached for the next frame. Does not know any module.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch

from .layers import eager_on_cpu

TABLES = 32  # cached tables: a handful for each input size and device
TOKENS_AT_ONCE = 1024  # with 256 channels these are 1 MB in float32


@lru_cache(TABLES)
@torch.inference_mode(False)  # a table made in inference mode could not be used in training later
def axial_rope(
    side: int, channels: int, device: torch.device, theta: float = 10000.0, pitch: int = 1
) -> torch.Tensor:
    """Rotation angles of a square token grid (RoFormer, two axes; official sam2/modeling/position_encoding.py).

    The first half of the channel pairs rotates with x, the second half with y. With `pitch` > 1 a token stands for
    pitch x pitch cells, and its position is their centre.

    Returns:
        ``[2, side * side, channels // 2]`` float32: cosines and sines.
    """
    frequency = theta ** (-torch.arange(0, channels, 4, device=device, dtype=torch.float32) / channels)
    cell = torch.arange(side * side, device=device)
    x, y = ((index * pitch).float() + (pitch - 1) / 2 for index in (cell % side, cell // side))
    x_angle, y_angle = x[:, None] * frequency, y[:, None] * frequency
    angle = torch.cat([x_angle, y_angle], dim=1)
    return torch.stack([angle.cos(), angle.sin()])


class Rope(NamedTuple):
    """Rotary positions of the queries and keys of an attention."""

    queries_2nc: torch.Tensor  # table of `axial_rope`
    keys_2nc: torch.Tensor  # table of `axial_rope`, repeated for every memory frame
    unrotated_keys: int = 0  # keys at the end without a place on the grid: pointer tokens
    half_split: bool = False  # layout of the channels, see `half_split_order`

    def rotate(self, q_bhnc: torch.Tensor, k_bhmc: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotate queries and keys; on a CPU in the half-split layout in place."""
        if self.half_split and eager_on_cpu(q_bhnc, k_bhmc):
            spatial = k_bhmc.shape[2] - self.unrotated_keys
            rotate_half_split_(k_bhmc[:, :, :spatial], self.keys_2nc)
            return rotate_half_split_(q_bhnc, self.queries_2nc), k_bhmc
        rotated = rotate_half_split if self.half_split else rotate
        q = rotated(q_bhnc, self.queries_2nc)
        if not self.unrotated_keys:
            return q, rotated(k_bhmc, self.keys_2nc)
        spatial = k_bhmc.shape[2] - self.unrotated_keys
        k = [rotated(k_bhmc[:, :, :spatial], self.keys_2nc), k_bhmc[:, :, spatial:]]
        return q, torch.cat(k, dim=2)


def rotate(x_bhnc: torch.Tensor, rope_2nc: torch.Tensor) -> torch.Tensor:
    """Rotate adjacent channel pairs by the table's angles, in float32.

    Args:
        x_bhnc: ``[b, h, n, c]``, n a multiple of the table's tokens: the table is repeated for every memory frame.
        rope_2nc: from `axial_rope`, ``[2, tokens, c // 2]``.
    """
    b, h, n, c = x_bhnc.shape
    cos, sin = rope_2nc
    pairs = x_bhnc.float().reshape(b, h, n // cos.shape[0], cos.shape[0], c // 2, 2)
    even, odd = pairs.unbind(-1)
    rotated = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return rotated.reshape(b, h, n, c).to(x_bhnc.dtype)


def half_split_order(channels: int) -> torch.Tensor:
    """The half-split order of channels: the first channels of all pairs, then the second ones; ``[channels]`` indices.

    Queries and keys in the same order have the same products, and contiguous halves are rotated in a fraction of the
    time.
    """
    index = torch.arange(channels)
    return torch.cat([index[0::2], index[1::2]])


def rotate_half_split(x_bhnc: torch.Tensor, rope_2nc: torch.Tensor) -> torch.Tensor:
    """As `rotate`, for channels in `half_split_order`."""
    b, h, n, c = x_bhnc.shape
    cos, sin = rope_2nc[0], rope_2nc[1]
    first, second = x_bhnc.reshape(b, h, n // cos.shape[0], cos.shape[0], c).float().split(c // 2, dim=-1)
    rotated = torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return rotated.view(b, h, n, c).to(x_bhnc.dtype)


def rotate_half_split_(x_bhnc: torch.Tensor, rope_2nc: torch.Tensor) -> torch.Tensor:
    """As `rotate_half_split`, in place, and for some tokens at a time.

    The float32 intermediates then stay in the CPU's cache, instead of filling new pages of memory.
    """
    at_once = max(1, TOKENS_AT_ONCE // (x_bhnc.shape[0] * x_bhnc.shape[1]))
    for tokens in x_bhnc.split(rope_2nc.shape[1], dim=2):
        for some, (cos, sin) in zip(
            tokens.split(at_once, dim=2), rope_2nc.split(at_once, dim=1), strict=True
        ):
            first, second = some.chunk(2, dim=-1)
            _rotate_(first, second, cos, sin)
    return x_bhnc


def rotate_channels_first_(x_cm: torch.Tensor, rope_2nc: torch.Tensor) -> torch.Tensor:
    """As `rotate_half_split_`, for channels first: ``[c, m]``."""
    cos, sin = channels_first(rope_2nc)
    for tokens in x_cm.split(rope_2nc.shape[1], dim=1):
        first, second = tokens.chunk(2)
        n = tokens.shape[1]
        _rotate_(first, second, cos[:, :n], sin[:, :n])
    return x_cm


@lru_cache(TABLES)
@torch.inference_mode(False)
def channels_first(rope_2nc: torch.Tensor, multiple: int = 1) -> torch.Tensor:
    """A table of `axial_rope` as ``[2, channels // 2, cells]``, repeated until the number of cells is a multiple of
    `multiple`."""
    repeats = multiple // math.gcd(multiple, rope_2nc.shape[1])
    return rope_2nc.transpose(1, 2).repeat(1, 1, repeats).contiguous()


def _rotate_(first: torch.Tensor, second: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    rotated = (first * cos).addcmul_(second.to(cos.dtype), sin, value=-1)
    second.copy_((first * sin).addcmul_(second.to(cos.dtype), cos))
    first.copy_(rotated)


@lru_cache(TABLES)
@torch.inference_mode(False)
def sine_grid(side: int, channels: int, device: torch.device) -> torch.Tensor:
    """2-D sine encoding of a square grid: channels of y, then of x (DETR; official `PositionEmbeddingSine`).

    Positions count from 1 and are normalised to 2 pi.

    Returns:
        ``[channels, side, side]`` float32.
    """
    half = channels // 2
    position = torch.arange(1, side + 1, device=device, dtype=torch.float32) / (side + 1e-6) * 2 * math.pi
    exponent = 2 * torch.div(torch.arange(half, device=device), 2, rounding_mode="floor") / half
    angle = position[:, None] / 10000.0**exponent
    encoded = torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1)
    y = encoded.t()[:, :, None].expand(half, side, side)
    x = encoded.t()[:, None, :].expand(half, side, side)
    return torch.cat([y, x])


def sine_time(distance_p: torch.Tensor, channels: int) -> torch.Tensor:
    """1-D sine encoding of normalised time distances (official `get_1d_sine_pe`).

    Args:
        distance_p: ``[p]`` float.
        channels: of the encoding.

    Returns:
        ``[p, channels]``: sines, then cosines.
    """
    half = channels // 2
    index = torch.arange(half, device=distance_p.device, dtype=torch.float32)
    exponent = 2 * torch.div(index, 2, rounding_mode="floor") / half
    angle = distance_p[:, None] / 10000.0**exponent
    return torch.cat([angle.sin(), angle.cos()], dim=1)
