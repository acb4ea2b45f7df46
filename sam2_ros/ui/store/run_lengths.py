# SPDX-License-Identifier: Apache-2.0
"""Masks as row-major run lengths, which begin with background; and their packed form in the database.

Pure functions. Does not know objects or frames.
"""

from __future__ import annotations

import zlib

import numpy as np


def to_runs(mask_hw: np.ndarray) -> np.ndarray:
    """Run lengths ``[n]`` uint32 of a mask ``[H, W]`` bool, row by row, background first; they sum to H * W.

    An empty mask has no runs.
    """
    flat = np.ascontiguousarray(mask_hw, bool).ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if not len(changes) and not (len(flat) and flat[0]):
        return np.zeros(0, np.uint32)
    bounds = np.concatenate([[0, 0] if flat[0] else [0], changes, [len(flat)]])
    return np.diff(bounds).astype(np.uint32)


def to_mask(runs: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask ``[height, width]`` bool of run lengths.

    Raises:
        ValueError: the runs do not sum to height * width.
    """
    if not len(runs):
        return np.zeros((height, width), bool)
    if int(runs.sum(dtype=np.int64)) != height * width:
        raise ValueError(
            f"run lengths of {int(runs.sum(dtype=np.int64))} pixels: expected {width} x {height} pixels"
        )
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)


def pack(runs: np.ndarray) -> bytes:
    """Compressed run lengths; no bytes for an empty mask."""
    return zlib.compress(np.asarray(runs, "<u4").tobytes(), 1) if len(runs) else b""


def unpack(packed: bytes) -> np.ndarray:
    """Run lengths ``[n]`` uint32 of `pack`."""
    if not packed:
        return np.zeros(0, np.uint32)
    return np.frombuffer(zlib.decompress(packed), "<u4").astype(np.uint32)


def area_and_centroid(runs: np.ndarray, width: int) -> tuple[int, float, float]:
    """Area in pixels and centroid (x, y) of a mask; zeros for an empty one. Runs may cross the ends of rows."""
    if not len(runs):
        return 0, 0.0, 0.0
    ends = np.cumsum(runs, dtype=np.int64)
    starts, ends = ends[0::2][: len(runs) // 2], ends[1::2]
    area = int((ends - starts).sum())
    total = ((starts + ends - 1) * (ends - starts) / 2).sum()  # sum of the row-major positions
    full, rest = _rows_before(ends, width) - _rows_before(starts, width), total
    y = float(full.sum()) / area
    return area, float(rest) / area - y * width, y


def _rows_before(position: np.ndarray, width: int) -> np.ndarray:
    """Sum of ``p // width`` over all positions p below `position`."""
    rows, columns = np.divmod(position, width)
    return width * rows * (rows - 1) / 2 + rows * columns
