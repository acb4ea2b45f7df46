# SPDX-License-Identifier: Apache-2.0
"""Copies an object's memory and state from one tracker to another of the same model.

Used by a second tracker that processes past frames until it has caught up with the stream.
"""

from __future__ import annotations

from .tracker import Tracker


def adopt(id: str, source: Tracker, target: Tracker, before: int | None = None) -> str:
    """Copy an object's memory and state from `source` to `target`, where they replace those of the same id.

    The label that the object has in `target` stays. The last frame of `source` becomes the frame before the next one
    of `target`.

    Args:
        id: the object, which `source` holds.
        source: tracker to copy from; unchanged.
        target: tracker to copy to, of the same model and settings.
        before: copy only recent memories from before this frame index of `source`; prompted frames are all copied.

    Returns:
        Why `target` has no room for the object; "" if it was copied.
    """
    if refusal := target.tracks.refusal(id):
        return refusal
    track, other = target.tracks.get_or_create(id), source.tracks[id]
    now = source.frame_index if before is None else before
    target.discard_output(track.row)
    target.bank.copy_row(track.row, source.bank, other.row, target.frame_index, now)
    track.continue_from(other)
    return ""
