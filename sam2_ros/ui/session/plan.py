# SPDX-License-Identifier: Apache-2.0
"""Plans a tracking run: which frames of which objects it writes, and from which frame it starts.

Positions are frames in the direction of the run: frame going forward, -frame going backward, so that a later position
is always tracked later. Pure functions. Does not know the tracker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ENDLESS = 1 << 60


@dataclass(frozen=True)
class Stretch:
    """Positions that a run writes for an object: after `after`, before `before`."""

    after: int
    before: int


@dataclass(frozen=True)
class Plan:
    """What a run writes.

    Attributes:
        sign: 1 = forward, -1 = backward.
        start: position as of which the tracker's memory is needed.
        end: position before which the run ends; `ENDLESS` = at the end of the source.
        stretches: by object.
    """

    sign: int
    start: int
    end: int
    stretches: Mapping[int, Sequence[Stretch]]

    def writes(self, object: int, position: int) -> bool:
        """True if the run writes this object there (keyframes excepted)."""
        return any(s.after < position < s.before for s in self.stretches.get(object, ()))

    def before_end(self, frames: int) -> int:
        """`end`, with the number of frames of the source."""
        return min(self.end, frames if self.sign > 0 else 1)


@dataclass(frozen=True)
class Rows:
    """The stored masks of an object, by frame: frame numbers in increasing order, and the runs that made them."""

    frames: np.ndarray
    run_ids: np.ndarray

    def run_id(self, frame: int) -> int:
        """The run that made the mask of a frame; -1 if there is none."""
        at = int(np.searchsorted(self.frames, frame))
        return int(self.run_ids[at]) if at < len(self.frames) and self.frames[at] == frame else -1

    def newest(self, sign: int, least: int, most: int) -> int:
        """The latest position of a mask between two positions, both included; `least` if there is none."""
        positions = np.sort(sign * self.frames)
        chosen = positions[(positions >= least) & (positions <= most)]
        return int(chosen[-1]) if len(chosen) else least


def plan_run(
    frame: int,
    sign: int,
    first_only: bool,
    keyframes: Mapping[int, Mapping[int, int]],
    rows: Mapping[int, Rows],
    targets: Sequence[int],
) -> Plan | None:
    """Plan a run from a frame.

    The stretch of an object that begins at its last keyframe up to here is always tracked anew from here on, up to its
    next keyframe. A later stretch is tracked if it has not been tracked since its keyframe was made.

    Args:
        frame: where it starts.
        sign: 1 = forward, -1 = backward.
        first_only: only up to the next keyframe.
        keyframes: by object: frame -> the run that made its mask.
        rows: by object, the stored masks.
        targets: objects that may be written.

    Returns:
        None if nothing is to be written.
    """
    here = sign * frame
    stretches: dict[int, list[Stretch]] = {}
    starts: list[int] = []
    end = ENDLESS if sign > 0 else 1
    for number in targets:
        positions = sorted(sign * at for at in keyframes[number])
        found = []
        for index, key in enumerate(positions):
            before = positions[index + 1] if index + 1 < len(positions) else end
            if before <= here or before - key <= 1:
                continue
            if key <= here:
                found.append(Stretch(rows[number].newest(sign, key, here), before))
            elif not first_only and _is_due(sign, key, keyframes[number], rows[number]):
                found.append(Stretch(key, before))
        if found:
            stretches[number] = found
            starts.append(found[0].after)
    if not stretches:
        return None
    last = max(found[-1].before for found in stretches.values())
    return Plan(sign, min(starts), last, stretches)


def _is_due(sign: int, key: int, keyframes: Mapping[int, int], rows: Rows) -> bool:
    """True if the frame after a keyframe has no mask, or one that is older than the keyframe."""
    return rows.run_id(sign * (key + 1)) < keyframes[sign * key]
