# SPDX-License-Identifier: Apache-2.0
"""Policy `quality`: a good recent frame stays until a good one replaces it; a poor one only until the next frame.

Quality-gated recents as described for SAMURAI (arXiv 2411.11922) and SAM2Long (arXiv 2410.16268), without the scores
of motion. Does not know where memories are stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from .policy import EMPTY_SLOT, Policy, Seen, State

GOOD_SCORE = 0.5  # predicted IoU above which a frame is good


class Quality(Policy):
    """Keeps two numbers: 1 if the newest recent frame before, or at, the last frame is poor."""

    name = "quality"
    reach = 30

    def admit(self, state: State, seen: Seen) -> bool:
        """All frames that show the object: the previous one is always kept. `evict` uses what is noted here."""
        if not seen.visible:
            return False
        state[:] = [state[1] if state else 0.0, float(seen.score <= GOOD_SCORE)]
        return True

    def evict(self, state: State, frames: Sequence[int]) -> int | None:
        poor = bool(state) and state[0] == 1.0
        return max(frames) if frames and poor else EMPTY_SLOT
