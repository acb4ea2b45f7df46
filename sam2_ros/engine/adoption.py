# SPDX-License-Identifier: Apache-2.0
"""Moves an object's memory and state from one tracker to another of the same model.

For a second tracker that works on past frames until it has caught up with the stream.
"""

from __future__ import annotations

from .tracker import Tracker


def adopt(id: str, source: Tracker, target: Tracker, before: int | None = None) -> str:
    """Copy an object's memory and state from `source`, in place of what `target` knows of it; its label there stays.

    The source's last frame counts as the one just before the target's next frame.

    Args:
        before: take the object as it was before this frame of the source; what was prompted later is kept.

    Returns:
        Why there is no room for it; "" when there is.
    """
    if refusal := target.tracks.refusal(id):
        return refusal
    track, other = target.tracks.get_or_create(id), source.tracks[id]
    now = source.frame_index if before is None else before
    target.forget_answer(track.row)
    target.bank.copy_row(track.row, source.bank, other.row, target.frame_index, now)
    track.continue_from(other)
    return ""
