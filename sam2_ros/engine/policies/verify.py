# SPDX-License-Identifier: Apache-2.0
"""Policy `verify`: a frame is promoted only if its mask leads back to the object of the first prompted frame.

The check before a write of SENTRY (arXiv 2606.24449), with the matching memory in place of a second pass: the keys of
the first frame are matched to the new one, whose mask is carried back. Does not know which policy promotes.
"""

from __future__ import annotations

from .policy import Policy, Seen, State

BACK_IOU = 0.5  # least IoU of the mask carried back and the one that is kept of the first frame


class Verify(Policy):
    """Keeps nothing."""

    name = "verify"
    needs_matching = True
    checks_promotions = True

    def promote(self, state: State, seen: Seen) -> bool | None:
        found = seen.look_back()
        return False if found is None or found < BACK_IOU else None
