# SPDX-License-Identifier: Apache-2.0
"""Tile sizes of the Triton kernel by GPU, and the number of parts into which it divides the keys."""

from __future__ import annotations

import pytest
import torch

from sam2_ros.engine.kernels.triton_tiles import (
    TILES_IN_REGISTERS,
    TILES_IN_SHARED_MEMORY,
    Tiles,
    fitting_tiles,
    splits_for,
)


def test_the_largest_tiles_that_fit_into_shared_memory():
    half = torch.bfloat16
    assert fitting_tiles(256, 64, half, (9, 0)) == [Tiles(128, 128, 8, 2), Tiles(128, 64, 8, 3)]
    assert fitting_tiles(256, 64, half, (11, 0)) == list(TILES_IN_SHARED_MEMORY[:2])
    assert fitting_tiles(256, 64, half, (8, 7)) == [Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2)]
    assert fitting_tiles(256, 64, half, (8, 6)) == [Tiles(64, 64, 4, 2), Tiles(64, 32, 4, 2)]
    assert fitting_tiles(128, 64, half, (8, 6)) == list(TILES_IN_REGISTERS[:2])


@pytest.mark.parametrize(
    ("blocks", "key_tiles", "processors", "expected"),
    [
        (32, 449, 132, 4),  # one object at 1024 on an H200
        (160, 449, 132, 3),  # five
        (264, 449, 132, 1),
        (64, 898, 16, 1),  # Orin
        (1, 449, 132, 15),
        (1, 20, 132, 2),
        (1, 1, 132, 1),
    ],
)
def test_keys_are_divided_until_the_device_is_busy(blocks, key_tiles, processors, expected):
    assert splits_for(blocks, key_tiles, processors) == expected
