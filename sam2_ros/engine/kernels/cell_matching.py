# SPDX-License-Identifier: Apache-2.0
"""Weighted sums over the cells of past frames that look like a cell of the current one: everywhere, or in windows.

Attention without division by the sum of weights: sums of several searches can be added. Does not know masks.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch

from .cpu import Kernels, cpu_kernels
from .layers import computed_dtype, eager_on_cpu

BLOCK_SIDE = 12  # cells; the queries of a block share their window
QUERIES = 384  # at a time, of those that search everywhere: their weights stay in the cache
FAR = 16.0  # of the keys of padding: a weight of exp(-16 scale) is 0


class Falloff(NamedTuple):
    """Search in windows: how a weight falls with distance, and the reach of the windows."""

    per_square: torch.Tensor  # of the exponent, with the square of the distance in cells
    radius: int  # cells beyond a block of queries, in each direction


def matching_sums(
    queries_nc: torch.Tensor,
    keys_fnc: torch.Tensor,
    values_fnv: torch.Tensor,
    scale: torch.Tensor,
    falloff: Falloff | None = None,
) -> torch.Tensor:
    """``sum over cells of exp(scale (q . k - 1) - falloff) values``.

    Args:
        queries_nc: ``[n, c]`` unit vectors, the cells of a square grid row by row.
        keys_fnc: ``[f, n, c]`` unit vectors of f frames on the same grid; f may be 0.
        values_fnv: ``[f, n, v]``.
        scale: scalar; the weight of an equal cell is 1, of others less.
        falloff: None = every cell of all frames. Otherwise the window of a block of `BLOCK_SIDE` squared cells.

    Returns:
        ``[n, v]`` float32.
    """
    if not len(keys_fnc):
        return queries_nc.new_zeros(len(queries_nc), values_fnv.shape[2], dtype=torch.float32)
    dtype = computed_dtype(queries_nc)
    learned = [scale] if falloff is None else [scale, falloff.per_square]
    kernels = cpu_kernels() if eager_on_cpu(queries_nc, keys_fnc, values_fnv, *learned) else None
    if kernels is not None and dtype in kernels.types:
        return _by_kernels(kernels, queries_nc, keys_fnc, values_fnv, scale, falloff, dtype)
    if falloff is None:
        keys, values = keys_fnc.flatten(0, 1), values_fnv.flatten(0, 1)
        parts = [_sums(part, keys, values, scale, None) for part in queries_nc.split(QUERIES)]
        return torch.cat(parts)
    return _in_windows(queries_nc, keys_fnc, values_fnv, scale, falloff)


def _sums(
    q_nc: torch.Tensor,
    k_mc: torch.Tensor,
    v_mv: torch.Tensor,
    scale: torch.Tensor,
    distance_nm: torch.Tensor | None,
) -> torch.Tensor:
    # The scale is subtracted within the product: bfloat16 rounds exponents near 0 less than those near the scale.
    ones = k_mc.new_ones(1).expand(len(k_mc), 2).to(q_nc.dtype)
    queries = torch.cat([q_nc * scale, *_halves(-scale.expand(len(q_nc), 1))], dim=1)
    exponent = queries @ torch.cat([k_mc.to(q_nc.dtype), ones], dim=1).t()
    if distance_nm is not None:
        exponent = exponent - distance_nm
    return (exponent.exp() @ v_mv.to(exponent.dtype)).float()


def _in_windows(
    queries_nc: torch.Tensor,
    keys_fnc: torch.Tensor,
    values_fnv: torch.Tensor,
    scale: torch.Tensor,
    falloff: Falloff,
) -> torch.Tensor:
    """With PyTorch's operators, block by block."""
    side, frames = _side(len(queries_nc)), len(keys_fnc)
    queries, keys, values = (x.unflatten(-2, (side, side)) for x in (queries_nc, keys_fnc, values_fnv))
    lines = []
    for top in range(0, side, BLOCK_SIDE):
        line = []
        for left in range(0, side, BLOCK_SIDE):
            block = _Block.at(top, left, side, falloff.radius)
            squares = _squares(block, queries_nc.device)
            distance = (falloff.per_square * squares).repeat(1, frames)
            q = queries[block.rows, block.columns]
            k = keys[:, block.window_rows, block.window_columns].flatten(0, 2)
            v = values[:, block.window_rows, block.window_columns].flatten(0, 2)
            line.append(_sums(q.flatten(0, 1), k, v, scale, distance).view(*q.shape[:2], -1))
        lines.append(torch.cat(line, dim=1))
    return torch.cat(lines).flatten(0, 1)


class _Block(NamedTuple):
    """A block of queries and its window."""

    rows: slice
    columns: slice
    window_rows: slice
    window_columns: slice

    @staticmethod
    def at(top: int, left: int, side: int, radius: int) -> _Block:
        cells = [slice(first, min(first + BLOCK_SIDE, side)) for first in (top, left)]
        windows = [slice(max(0, s.start - radius), min(side, s.stop + radius)) for s in cells]
        return _Block(*cells, *windows)

    @staticmethod
    def all(side: int, radius: int) -> list[_Block]:
        """The blocks of a grid, row by row."""
        starts = range(0, side, BLOCK_SIDE)
        return [_Block.at(top, left, side, radius) for top in starts for left in starts]


def cells_in_windows(side: int, radius: int) -> int:
    """Number of cells with which all queries of a grid are compared, in one frame."""
    return sum(math.prod(part.stop - part.start for part in block) for block in _Block.all(side, radius))


@lru_cache(64)
@torch.inference_mode(False)
def _squares_along(
    first: int, stop: int, window_first: int, window_stop: int, device: torch.device
) -> torch.Tensor:
    at, window = (
        torch.arange(*ends, dtype=torch.float32, device=device)
        for ends in ((first, stop), (window_first, window_stop))
    )
    return (at[:, None] - window) ** 2


def _squares(block: _Block, device: torch.device) -> torch.Tensor:
    """Squared distances of the cells of a block to those of its window, ``[queries, cells]``."""
    dy, dx = (
        _squares_along(own.start, own.stop, window.start, window.stop, device)
        for own, window in ((block.rows, block.window_rows), (block.columns, block.window_columns))
    )
    return (dy[:, None, :, None] + dx[None, :, None, :]).flatten(2).flatten(0, 1)


def _by_kernels(
    kernels: Kernels,
    queries_nc: torch.Tensor,
    keys_fnc: torch.Tensor,
    values_fnv: torch.Tensor,
    scale: torch.Tensor,
    falloff: Falloff | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    """By the CPU kernels: the exponent is one product, of queries and keys with some more channels."""
    n = len(queries_nc)
    ones = queries_nc.new_ones(n, 1)
    if falloff is None:
        queries = torch.cat([queries_nc * scale, *_halves(-scale * ones)], dim=1).to(dtype)
        keys = torch.cat([keys_fnc.to(dtype), ones.to(dtype).expand(len(keys_fnc), n, 2)], dim=2).flatten(
            0, 1
        )
        return kernels.weighted_sums(queries, keys, values_fnv.to(dtype).flatten(0, 1)).float()
    side = _side(n)
    place = _places(side, queries_nc.device)
    own = (place**2).sum(dim=1, keepdim=True)
    # Rounded once, so that the terms of a square of distance, which are rounded one by one, still cancel.
    per_square = falloff.per_square.to(dtype).float()
    constant = -scale - per_square * own
    products = 2 * per_square * place
    channels = [queries_nc * scale, *_halves(constant), *[-per_square * ones] * 2, *_halves(products)]
    queries = torch.cat(channels, dim=1).to(dtype)
    of_keys = torch.cat([ones, ones, *_halves(own), place, place], dim=1).to(dtype)
    keys = torch.cat([keys_fnc.to(dtype), of_keys.expand(len(keys_fnc), -1, -1)], dim=2).flatten(0, 1)
    rows, windows = _window_rows(side, falloff.radius, len(keys_fnc))
    padding = torch.zeros(3, max(queries.shape[1], values_fnv.shape[2]), dtype=dtype)
    padding[1, queries_nc.shape[1]] = FAR  # times the queries' constant, which is at most -scale
    return kernels.weighted_sums(
        queries, keys, values_fnv.to(dtype).flatten(0, 1), rows, windows, padding
    ).float()


def _halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two numbers whose sum is x, of which bfloat16 holds the first exactly and loses little of the second."""
    high = x.to(torch.bfloat16).to(x.dtype)
    return high, x - high


@lru_cache(8)
@torch.inference_mode(False)
def _places(side: int, device: torch.device) -> torch.Tensor:
    """y and x of each cell from the middle of the grid, ``[n, 2]``: integers that bfloat16 holds."""
    along = torch.arange(side, dtype=torch.float32, device=device) - side // 2
    return torch.cartesian_prod(along, along)


@lru_cache(8)
@torch.inference_mode(False)
def _window_rows(side: int, radius: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the queries of each block, ``[w, BLOCK_SIDE^2]``, and of the keys of its window in all frames, int32;
    -1 = padding."""
    cells, blocks = torch.arange(side * side).view(side, side), _Block.all(side, radius)
    queries = [cells[block.rows, block.columns].flatten() for block in blocks]
    keys = [cells[block.window_rows, block.window_columns].flatten() for block in blocks]
    keys = [torch.cat([each + f * side**2 for f in range(frames)]) for each in keys]
    return tuple(
        torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1).to(torch.int32)
        for rows in (queries, keys)
    )  # type: ignore[return-value]


def _side(n: int) -> int:
    return int(n**0.5 + 0.5)
