# SPDX-License-Identifier: Apache-2.0
"""Estimates velocities from the positions of the last half second, by least squares.

Knows stamps and positions; does not know which object moves or in which frame.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from .location import Vector

WINDOW_S = 0.5
GAP_S = 0.5  # after a longer gap, earlier positions are dropped
MIN_POSITIONS = 3
MIN_SPAN_S = 0.1
UNKNOWN: Vector = (0.0, 0.0, 0.0)


class VelocityEstimator:
    """The recent positions of each object, by label. Not thread-safe."""

    def __init__(self) -> None:
        self._tracks: dict[int, deque[tuple[float, Vector]]] = {}

    def update(self, label: int, stamp_s: float, position_xyz: Vector) -> Vector:
        """Add a position and return the velocity in m/s; zeros while it is unknown."""
        track = self._tracks.setdefault(label, deque())
        if track and not 0 < stamp_s - track[-1][0] <= GAP_S:
            track.clear()
        track.append((stamp_s, position_xyz))
        while stamp_s - track[0][0] > WINDOW_S:
            track.popleft()
        if len(track) < MIN_POSITIONS or stamp_s - track[0][0] < MIN_SPAN_S:
            return UNKNOWN
        # Differences first: seconds since 1970 and map coordinates in the millions would leave rounding errors only.
        times_s = np.array([time_s for time_s, _ in track]) - stamp_s
        positions = np.array([position for _, position in track]) - np.array(position_xyz)
        times_s -= times_s.mean()
        x, y, z = (times_s @ positions / (times_s @ times_s)).tolist()
        return x, y, z

    def keep(self, labels: set[int]) -> None:
        """Drop all objects except these."""
        for label in self._tracks.keys() - labels:
            del self._tracks[label]

    def clear(self) -> None:
        self._tracks.clear()
