# SPDX-License-Identifier: Apache-2.0
"""Policy `scene-cut`: after a cut an object is sought by its prompted frames, and remembered only once it is found.

A cut is a sudden change of the image's colours, compared with the changes before. Does not know where the object is.
"""

from __future__ import annotations

import numpy as np

from .policy import Arrival, Policy, Seen, State

CHANGE = 0.35  # least half L1 distance of two colour histograms, 0..1
TIMES = 3.0  # and so many times the usual change
RATE = 0.1  # of the running mean of the change
CONFIRMED = 2  # frames in a row on which the object is found, until it is remembered again


class SceneCut(Policy):
    """Keeps frames left until the object counts as found, the usual change, and the histogram of the last frame."""

    name = "scene-cut"

    def select(self, state: State, arrival: Arrival) -> bool:
        now = arrival.histogram
        if not state:
            state[:] = [0.0, 0.0, *map(float, now)]
            return True
        left, usual = state[:2]
        change = 0.5 * float(np.abs(now - np.array(state[2:], np.float32)).sum())
        cut = change > CHANGE and change > TIMES * usual
        if cut:
            left = float(CONFIRMED)
        else:
            usual += RATE * (change - usual)
        state[:] = [left, usual, *map(float, now)]
        return not cut

    def admit(self, state: State, seen: Seen) -> bool:
        if not state or state[0] == 0.0:
            return True
        if seen.prompted:
            state[0] = 0.0
            return True
        state[0] = state[0] - 1 if seen.visible else float(CONFIRMED)
        return state[0] == 0.0
