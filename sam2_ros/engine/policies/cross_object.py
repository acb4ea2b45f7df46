# SPDX-License-Identifier: Apache-2.0
"""Policy `cross-object`: of two tracks that overlap, the less certain one stops writing memory.

Described in SAM2MOT (arXiv 2504.04519). Does not know which object is right: certainty is the mean predicted IoU.
"""

from __future__ import annotations

import numpy as np

from .policy import Policy, Seen, State

OVERLAP = 0.5  # of the smaller mask's area
RATE = 0.2  # of the running mean of the predicted IoU


class CrossObject(Policy):
    """Keeps one number: the running mean of the object's predicted IoU."""

    name = "cross-object"
    compares_objects = True

    def admit(self, state: State, seen: Seen) -> bool:
        mean = certainty(state, seen)
        state[:] = [mean]
        return not any(
            other is not seen
            and overlap(seen, other) > OVERLAP
            and certainty(list(other.before.get(self.name, [])), other) > mean
            for other in seen.others
        )


def certainty(state: State, seen: Seen) -> float:
    """Mean predicted IoU, the newest frame included; 1 on a prompted frame."""
    now = 1.0 if seen.prompted else seen.score * (seen.presence > 0)
    return now if seen.prompted or not state else (1 - RATE) * state[0] + RATE * now


def overlap(a: Seen, b: Seen) -> float:
    """Common area of two masks over the area of the smaller one."""
    smaller = min(a.area, b.area)
    return int(np.count_nonzero(a.mask & b.mask)) / smaller if smaller else 0.0
