# SPDX-License-Identifier: Apache-2.0
"""Policy `appearance`: an object that comes back is remembered again only if it looks like the prompted one.

Looks = `Seen.descriptor`. Does not know where the object was.
"""

from __future__ import annotations

import numpy as np

from .policy import Policy, Seen, State

HIDDEN = 3  # frames without the object after which it has to be recognised
LIKE = 0.85  # least cosine of the descriptors


class Appearance(Policy):
    """Keeps the number of hidden frames in a row, `HIDDEN` at most, and the descriptor of the prompted frames."""

    name = "appearance"

    def admit(self, state: State, seen: Seen) -> bool:
        now = seen.descriptor if seen.visible else None
        if seen.prompted and now is not None:
            known = np.array(state[1:]) if state else np.zeros(len(now))
            mean = known + now
            state[:] = [0.0, *map(float, mean / np.linalg.norm(mean))]
        elif state and now is None:
            state[0] = min(state[0] + 1, HIDDEN)
        elif state and now is not None:
            if state[0] >= HIDDEN and float(np.dot(state[1:], now)) < LIKE:
                return False
            state[0] = 0.0
        return True
