# SPDX-License-Identifier: Apache-2.0
"""Memory policies: which tracked frames become memories of an object.

Pure rules on the object score of a frame. Does not know the memory bank. None of them needs training.
"""

from __future__ import annotations

OFFICIAL, VISIBLE = "official", "visible"
MEMORY_POLICIES = (OFFICIAL, VISIBLE)


def admits_recent(policy: str, presence: float) -> bool:
    """True if a frame that was only tracked becomes a recent memory.

    "official" keeps every frame, as SAM 2 does. An object that comes out slowly from behind another one is then stored
    as background while its object score is still below 0, and may stay lost. "visible" keeps the frames that show the
    object, as DAM4SAM (arXiv 2411.17576) and SAM 3 do: after a long absence the prompted frames are the only memories,
    and the object is found again by them.

    Args:
        policy: one of `MEMORY_POLICIES`.
        presence: object score logit.
    """
    return policy == OFFICIAL or presence > 0
