# SPDX-License-Identifier: Apache-2.0
"""Estimates velocities from the positions of the last half second, by least squares.

Knows stamps and positions; does not know which object moves or in which frame.

Latency: the slope of a line through the last WINDOW_S seconds is the mean velocity of that time, so under constant
acceleration the velocity is that of WINDOW_S / 2 (0.25 s) before the image; after a step it is right WINDOW_S later.
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
        self._scatter_m: dict[int, float] = {}  # around the line, of each position; absent: too few positions

    def update(self, label: int, stamp_s: float, position_xyz: Vector) -> Vector:
        """Add a position and return the velocity in m/s; zeros while it is unknown."""
        self._scatter_m.pop(label, None)
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
        slope = times_s @ positions / (times_s @ times_s)
        residuals = positions - positions.mean(axis=0) - np.outer(times_s, slope)
        self._scatter_m[label] = float(np.sqrt((residuals**2).sum() / (len(track) - 2)))
        x, y, z = slope.tolist()
        return x, y, z

    def scatter_m(self, label: int) -> float:
        """Standard deviation of the recent positions around steady motion, metres; 0 while it is unknown."""
        return self._scatter_m.get(label, 0.0)

    def keep(self, labels: set[int]) -> None:
        """Drop all objects except these."""
        for label in self._tracks.keys() - labels:
            del self._tracks[label]
            self._scatter_m.pop(label, None)

    def clear(self) -> None:
        self._tracks.clear()
        self._scatter_m.clear()
