# SPDX-License-Identifier: Apache-2.0
"""Snapshots of trackers by the prompts that they were given, so that tracking goes on from an earlier frame.

Holds the newest ones up to a limit in bytes. Does not know frames or masks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from sam2_ros.engine.snapshot import TrackerSnapshot

Given = tuple[int, int, int]
"""A prompt that a tracker was given: position, object, and the run that made its mask."""


@dataclass(frozen=True)
class Kept:
    """A snapshot as of a position, with the prompts given up to there.

    `exact`: every frame from the first prompt on was tracked, as in a straight run.
    """

    position: int
    given: tuple[Given, ...]
    snapshot: TrackerSnapshot
    exact: bool


class Snapshots:
    """For the thread that owns the model."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[int, int, tuple[Given, ...]], Kept] = OrderedDict()

    def add(self, rows: int, kept: Kept) -> None:
        """Keep a snapshot of a tracker for `rows` objects; the oldest ones make room."""
        key = (rows, kept.position, kept.given)
        if key in self._kept and self._kept[key].exact and not kept.exact:
            return
        self._kept.pop(key, None)
        self._kept[key] = kept
        total = sum(one.snapshot.bytes for one in self._kept.values())
        while total > self._most_bytes and self._kept:
            total -= self._kept.popitem(last=False)[1].snapshot.bytes

    def nearest(self, rows: int, position: int, reach: int, prompts: Sequence[Given]) -> Kept | None:
        """A snapshot of a tracker that was given exactly these prompts up to there: the latest exact one, else the
        latest one, from `reach` positions before `position` on."""
        best: Kept | None = None
        for (held_rows, at, given), kept in self._kept.items():
            if held_rows != rows or not position - reach <= at <= position:
                continue
            if given != tuple(one for one in prompts if one[0] <= at):
                continue
            if best is None or (kept.exact, at) > (best.exact, best.position):
                best = kept
        if best is not None:
            self._kept.move_to_end((rows, best.position, best.given))
        return best

    def __len__(self) -> int:
        return len(self._kept)
