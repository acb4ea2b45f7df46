# SPDX-License-Identifier: Apache-2.0
"""Whether an object is still: its positions over a time, of which single ones may be wrong.

Knows positions with their stamps; does not know objects, goals or ROS.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

STAMP_PRECISION_S = 1e-5  # of a stamp of today as a float of seconds, with room
MOST_POSITIONS = 512  # kept of a long time


class StillWindow:
    """The newest positions of one object, as many as span `time_s`.

    The object is still when they stay within a distance of their median, component by component. A position that is
    farther away counts as wrong if both of its neighbours are near: the depth of one image. Two in a row are a motion;
    so is a last position that is far from the first, though both are near the median.
    """

    def __init__(self, time_s: float) -> None:
        self._time_s = time_s
        self._stamps_s: deque[float] = deque()
        self._positions: deque[tuple[float, float, float]] = deque()  # metres

    def clear(self) -> None:
        """Begin anew: the object was not seen, or not located."""
        self._stamps_s.clear()
        self._positions.clear()

    def still_s(self, stamp_s: float, xyz_m: tuple[float, float, float], within_m: float) -> float:
        """Add a position; returns for how long the object has been still in seconds, 0 if it is not or not yet.

        A stamp that jumps back begins anew, as does a position that is not finite.
        """
        if not all(map(math.isfinite, xyz_m)):
            self.clear()
            return 0.0
        self._add(stamp_s, xyz_m)
        spans_s = stamp_s - self._stamps_s[0]
        if spans_s < self._time_s - STAMP_PRECISION_S or len(self._positions) < 2:
            return 0.0
        return spans_s if _stays(np.array(self._positions), within_m) else 0.0

    def _add(self, stamp_s: float, xyz_m: tuple[float, float, float]) -> None:
        stamps, positions = self._stamps_s, self._positions
        if stamps and stamp_s < stamps[-1]:
            self.clear()
        if len(stamps) > 1 and stamps[-1] - stamps[-2] < self._time_s / MOST_POSITIONS:
            stamps.pop()
            positions.pop()
        stamps.append(stamp_s)
        positions.append(xyz_m)
        while len(stamps) > 1 and stamps[1] <= stamp_s - self._time_s + STAMP_PRECISION_S:
            stamps.popleft()
            positions.popleft()


def _stays(positions_n3: np.ndarray, within_m: float) -> bool:
    away = np.linalg.norm(positions_n3 - np.median(positions_n3, axis=0), axis=1) > within_m
    drift_m = float(np.linalg.norm(positions_n3[-1] - positions_n3[0]))
    return not (away[0] or away[-1] or (away[1:] & away[:-1]).any()) and drift_m <= within_m
