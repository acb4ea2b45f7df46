# SPDX-License-Identifier: Apache-2.0
"""Weighted sums over cells that look alike, as loops in NumPy. Knows the documentation of `matching_sums` alone."""

from __future__ import annotations

import numpy as np

BLOCK_SIDE = 12


def loops(
    queries_nc: np.ndarray,
    keys_fnc: np.ndarray,
    values_fnv: np.ndarray,
    scale: float,
    per_square: float = 0.0,
    radius: int | None = None,
) -> np.ndarray:
    """`matching_sums` of one query after the other, in float64; `radius`: None = every cell."""
    side = round(len(queries_nc) ** 0.5)
    y, x = np.divmod(np.arange(side**2), side)
    sums = np.zeros((len(queries_nc), values_fnv.shape[2]))
    for at, query in enumerate(queries_nc.astype(np.float64)):
        squares = (y - y[at]) ** 2 + (x - x[at]) ** 2
        reached = np.ones(side**2, bool)
        if radius is not None:
            reached = _in_window(y[at], y, side, radius) & _in_window(x[at], x, side, radius)
        for keys, values in zip(keys_fnc.astype(np.float64), values_fnv, strict=True):
            for cell in np.flatnonzero(reached):
                exponent = scale * (query @ keys[cell] - 1) - per_square * squares[cell]
                sums[at] += np.exp(exponent) * values[cell]
    return sums


def _in_window(at: int, cells: np.ndarray, side: int, radius: int) -> np.ndarray:
    """True for cells at most `radius` beyond the block of `BLOCK_SIDE` cells that holds the query."""
    first = at // BLOCK_SIDE * BLOCK_SIDE
    last = min(first + BLOCK_SIDE, side) - 1
    return (first - radius <= cells) & (cells <= last + radius)
