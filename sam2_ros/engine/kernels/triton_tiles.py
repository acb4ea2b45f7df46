# SPDX-License-Identifier: Apache-2.0
"""Tile sizes of triton_attention.py: which fit the shared memory of a GPU, and into how many parts keys are split.

Does not need Triton. Does not know what queries and keys mean.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Tiles(NamedTuple):
    """Tile sizes of one program of the kernel."""

    queries: int
    keys: int
    warps: int
    stages: int  # tiles of keys and values that are loaded ahead


# Largest first. On Hopper and Blackwell the matrix units read from shared memory, elsewhere from registers.
TILES_IN_SHARED_MEMORY = (Tiles(128, 128, 8, 2), Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2))
TILES_IN_REGISTERS = (Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2), Tiles(64, 64, 4, 2), Tiles(64, 32, 4, 2))


def fitting_tiles(
    channels: int, value_channels: int, dtype: torch.dtype, capability: tuple[int, int]
) -> list[Tiles]:
    """The two largest tile sizes whose queries, keys and values fit into the shared memory of a multiprocessor."""
    tiles = TILES_IN_SHARED_MEMORY if _reads_shared_memory(capability) else TILES_IN_REGISTERS
    limit = shared_memory_limit(capability)
    return [
        each for each in tiles if shared_memory(each, channels, value_channels, dtype, capability) <= limit
    ][:2]


def _reads_shared_memory(capability: tuple[int, int]) -> bool:
    return capability[0] in (9, 10, 11)


def shared_memory_limit(capability: tuple[int, int]) -> int:
    """Shared memory available to one program, bytes (CUDA C++ programming guide, technical specifications)."""
    if _reads_shared_memory(capability):
        return 227 * 1024
    return (163 if capability in ((8, 0), (8, 7)) else 99) * 1024


def shared_memory(
    tiles: Tiles, channels: int, value_channels: int, dtype: torch.dtype, capability: tuple[int, int]
) -> int:
    """Shared memory that a program of these tiles needs, bytes."""
    # Where the matrix units read from registers, one stage is in registers.
    stages = tiles.stages if _reads_shared_memory(capability) else tiles.stages - 1
    loaded_ahead = stages * tiles.keys * (channels + value_channels)
    barriers = 1024
    return dtype.itemsize * (tiles.queries * channels + loaded_ahead) + barriers


def splits_for(blocks: int, key_tiles: int, processors: int) -> int:
    """Number of parts into which keys are split, so that `blocks` of queries keep all `processors` busy.

    One object at 1024 x 1024 has 32 blocks of 128 queries; an H200 has 132 multiprocessors. Returns the smallest number
    whose utilisation is within a tenth of the best: at most 16, each part with at least 8 tiles of keys.
    """
    used = []
    for splits in range(1, max(1, min(16, key_tiles // 8)) + 1):
        rounds = -(-blocks * splits // processors)
        used.append(blocks * splits / (rounds * processors))
    return next(splits for splits, share in enumerate(used, 1) if share >= 0.9 * max(used))
