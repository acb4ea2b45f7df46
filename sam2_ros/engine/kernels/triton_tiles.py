# SPDX-License-Identifier: Apache-2.0
"""Tile sizes of triton_attention.py: what fits the shared memory of a GPU, and how the keys are split.

Does not need Triton. Does not know what is attended to.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Tiles(NamedTuple):
    """What one program of the kernel works on at a time."""

    queries: int
    keys: int
    warps: int
    stages: int  # tiles of keys and values that are on their way


# The largest first. On Hopper and Blackwell the matrix units read from shared memory, elsewhere from registers.
TILES_IN_SHARED_MEMORY = (Tiles(128, 128, 8, 2), Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2))
TILES_IN_REGISTERS = (Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2), Tiles(64, 64, 4, 2), Tiles(64, 32, 4, 2))


def fitting_tiles(
    channels: int, value_channels: int, dtype: torch.dtype, capability: tuple[int, int]
) -> list[Tiles]:
    """The two largest tiles whose queries, keys and values fit into a multiprocessor's shared memory."""
    tiles = TILES_IN_SHARED_MEMORY if _reads_shared_memory(capability) else TILES_IN_REGISTERS
    limit = shared_memory_limit(capability)
    return [
        each for each in tiles if shared_memory(each, channels, value_channels, dtype, capability) <= limit
    ][:2]


def _reads_shared_memory(capability: tuple[int, int]) -> bool:
    return capability[0] in (9, 10, 11)


def shared_memory_limit(capability: tuple[int, int]) -> int:
    """What one program may take, in bytes (CUDA C++ programming guide, technical specifications)."""
    if _reads_shared_memory(capability):
        return 227 * 1024
    return (163 if capability in ((8, 0), (8, 7)) else 99) * 1024


def shared_memory(
    tiles: Tiles, channels: int, value_channels: int, dtype: torch.dtype, capability: tuple[int, int]
) -> int:
    """What a program of these tiles takes, in bytes; where matrix units read from registers one stage is there."""
    stages = tiles.stages if _reads_shared_memory(capability) else tiles.stages - 1
    on_their_way = stages * tiles.keys * (channels + value_channels)
    barriers = 1024
    return dtype.itemsize * (tiles.queries * channels + on_their_way) + barriers


def splits_for(blocks: int, key_tiles: int, processors: int) -> int:
    """Into how many parts to divide the keys, so that `blocks` of queries keep this many multiprocessors busy.

    One object at 1024 x 1024 has 32 blocks of 128 queries, an H200 132 multiprocessors. The fewest parts within a tenth
    of the best use, at most 16, none of them under 8 tiles of keys.
    """
    used = []
    for splits in range(1, max(1, min(16, key_tiles // 8)) + 1):
        rounds = -(-blocks * splits // processors)
        used.append(blocks * splits / (rounds * processors))
    return next(splits for splits, share in enumerate(used, 1) if share >= 0.9 * max(used))
