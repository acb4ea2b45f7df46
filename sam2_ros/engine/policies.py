# SPDX-License-Identifier: Apache-2.0
"""Memory policies: which tracked frames enter an object's memory.

Pure rules on what the model said of a frame; does not know the bank. None of them needs training.
"""

from __future__ import annotations

OFFICIAL, VISIBLE = "official", "visible"
MEMORY_POLICIES = (OFFICIAL, VISIBLE)


def admits_recent(policy: str, presence: float) -> bool:
    """Whether a frame that was only tracked becomes a recent memory.

    `official` keeps every frame, as SAM 2 does. With it an object that comes out from behind something slowly is
    remembered as background while the object score is still below 0, and may stay lost for good. `visible` keeps
    the frames that show the object, as DAM4SAM (arXiv 2411.17576) and SAM 3 do: after a long absence the prompted
    frames alone are left to find it by.

    Args:
        policy: one of `MEMORY_POLICIES`.
        presence: object score logit.
    """
    return policy == OFFICIAL or presence > 0
