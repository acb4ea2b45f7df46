# SPDX-License-Identifier: Apache-2.0
"""Draws sprites that deform: resamples them by an affine map and a change of shape inside the sprite's square.

Does not know how a shape changes over time: `deformation` and `scene` say it.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

_NODE_PX = 8  # distance of the points at which a deformation is computed; between them it is interpolated
_PROBES = 33
_PROBED = 2.2  # deformed things are looked for up to here, in units of the sprite's half side


class Warp(Protocol):
    """A change of shape over time."""

    def source(self, x: np.ndarray, y: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Map points of the deformed thing at time t to points of the sprite; both in units of its half side."""
        ...


def warped_bounds(warp: Warp, t: float) -> tuple[float, float, float, float]:
    """Return the box of the deformed sprite at time t, x0, y0, x1, y1 in units of its half side."""
    line = np.linspace(-_PROBED, _PROBED, _PROBES, dtype=np.float32)
    x, y = np.broadcast_arrays(line[None, :], line[:, None])
    from_x, from_y = warp.source(x, y, t)
    inside = (np.abs(from_x) <= 1.05) & (np.abs(from_y) <= 1.05)
    if not inside.any():
        return -1.0, -1.0, 1.0, 1.0
    step = float(line[1] - line[0])
    columns, rows = line[inside.any(axis=0)], line[inside.any(axis=1)]
    return columns[0] - step, rows[0] - step, columns[-1] + step, rows[-1] + step


def draw_warped(
    sprite: np.ndarray, matrix: np.ndarray, size: tuple[int, int], warp: Warp, t: float
) -> np.ndarray:
    """Draw a deformed sprite, [height, width, 4] uint8.

    Args:
        sprite: [S, S, 4] uint8.
        matrix: sprite pixel -> drawn pixel without the deformation, [3, 3], pixel centres at integers.
        size: width, height.
    """
    half = sprite.shape[0] / 2
    inverse = np.linalg.inv(matrix)
    # Nodes at the centres of blocks, one more block on each side, so that every pixel lies between nodes.
    blocks = [-(-length // _NODE_PX) + 2 for length in size]
    x, y = ((np.arange(n) - 1) * _NODE_PX + (_NODE_PX - 1) / 2 for n in blocks)
    u = (inverse[0, 0] * x + inverse[0, 1] * y[:, None] + inverse[0, 2] + 0.5) / half - 1
    v = (inverse[1, 0] * x + inverse[1, 1] * y[:, None] + inverse[1, 2] + 0.5) / half - 1
    coarse = [((one + 1) * half - 0.5).astype(np.float32) for one in warp.source(u, v, t)]
    width, height = size
    maps = [
        cv2.resize(one, (one.shape[1] * _NODE_PX, one.shape[0] * _NODE_PX), interpolation=cv2.INTER_LINEAR)[
            _NODE_PX : _NODE_PX + height, _NODE_PX : _NODE_PX + width
        ]
        for one in coarse
    ]
    return cv2.remap(sprite, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def draw_bent(
    sprite: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    bend: tuple[float, float, float],
) -> np.ndarray:
    """Draw a sprite bent sideways, [height, width, 4] uint8.

    Args:
        bend: amplitude in units of the sprite's half side, periods along the sprite, phase in rad.
    """
    inverse = np.linalg.inv(matrix)
    x = np.arange(size[0], dtype=np.float32)[None, :]
    y = np.arange(size[1], dtype=np.float32)[:, None]
    u = (inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]).astype(np.float32)
    v = (inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]).astype(np.float32)
    side = sprite.shape[0]
    amplitude, waves, phase = bend
    turn = np.float32(2 * np.pi * waves / side)
    u += np.float32(amplitude * side / 2) * np.sin(v * turn + np.float32(phase))
    return cv2.remap(sprite, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
