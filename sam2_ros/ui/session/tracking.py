# SPDX-License-Identifier: Apache-2.0
"""A tracker that is brought to any frame of a source, forward or backward, with the keyframes given as mask prompts.

How it gets its memory as of a frame, the first that applies:

* From the first keyframe on, if that is near: every frame is tracked. Exact.
* From a snapshot near the frame, with the frames after it tracked again. Exact, if the snapshot is.
* Primed: the earlier keyframes, then the 16 frames before it, each under its true number. Not exact: a straight run
  also remembers the frames between them.

Exact = the masks of `sam2-ros track` with the keyframes as mask prompts. Does not know what is written of the results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sam2_ros.engine import FrameResult, Prompt, Sam2Model, Tracker, TrackerConfig

from .snapshots import Given, Kept, Snapshots

PRIMED_FRAMES = 16  # tracked before the frame that a primed tracker is wanted for
NEAR_FRAMES = 48  # tracked again rather than priming
SNAPSHOT_EVERY = 8
_BACKWARD_NUMBER = 1 << 30  # of frame 0 going backward: later frames have lower numbers


@dataclass(frozen=True)
class Keyframe:
    """A mask made by prompts: the run that made it, and its pixels on demand, ``[H, W]`` bool.

    An empty one is no prompt for the tracker, which takes no mask without pixels.
    """

    run_id: int
    empty: bool
    mask: Callable[[], np.ndarray]


@dataclass(frozen=True)
class SourceView:
    """What tracking needs of a source: pixels, numbers and stamps of its frames. Frames are those of the source."""

    pixels: Callable[[int], np.ndarray]
    is_missing: Callable[[int], bool]
    missing_before: Callable[[int], int]
    stamp_ns: Callable[[int], int]


class DirectedTracker:
    """A tracker that goes through a source in one direction. Positions as in `plan`: frame times `sign`.

    Attributes:
        position: of the newest frame; None before the first.
        exact: see the module.
    """

    def __init__(
        self, model: Sam2Model, objects: int, sign: int, source: SourceView, snapshots: Snapshots
    ) -> None:
        self._rows = objects
        self._tracker = Tracker(model, TrackerConfig(max_objects=objects))
        self._sign, self._source, self._snapshots = sign, source, snapshots
        self._given: list[Given] = []
        self.position: int | None = None
        self.exact = True

    def path_to(self, position: int, keyframes: Mapping[int, Mapping[int, Keyframe]]) -> list[int]:
        """Go back to the best state before a position; returns the positions to `step` through, up to it.

        Args:
            position: the newest frame that is to be in memory.
            keyframes: by object, by position.
        """
        prompts = _prompts(keyframes)
        earlier = [given for given in prompts if given[0] <= position]
        first = earlier[0][0] if earlier else position
        kept = self._snapshots.nearest(self._rows, position, NEAR_FRAMES, prompts)
        if kept is not None and (kept.exact or position - first > NEAR_FRAMES):
            self._tracker.restore(kept.snapshot)
            self._given, self.position, self.exact = list(kept.given), kept.position, kept.exact
            return list(range(kept.position + 1, position + 1))
        if position - first <= NEAR_FRAMES:
            return list(range(first, position + 1))
        self.exact = False
        begin = position - PRIMED_FRAMES
        return [*self._kept_prompts(earlier, begin), *range(begin, position + 1)]

    def step(self, position: int, keyframes: Mapping[int, Mapping[int, Keyframe]]) -> FrameResult | None:
        """Track one more frame, with the keyframes there as prompts; None if the source has no such frame."""
        frame = position * self._sign
        jumped = self.position is not None and position > self.position + 1
        self.position = position
        if self._source.is_missing(frame):
            return None
        given = [(n, keys[position]) for n, keys in sorted(keyframes.items()) if position in keys]
        given = [(n, key) for n, key in given if not key.empty]
        stamp_s = self._sign * self._source.stamp_ns(frame) * 1e-9
        tracker, number = self._tracker, frame - self._source.missing_before(frame)
        tracker.frame_index = number if self._sign > 0 else _BACKWARD_NUMBER - number
        if jumped:
            for track in tracker.tracks:
                track.last_visible_s = stamp_s  # frames that were left out do not count as hidden
        result = tracker.step(
            self._source.pixels(frame), [Prompt(str(n), mask=key.mask()) for n, key in given], stamp_s
        )
        self._given += [(position, n, key.run_id) for n, key in given]
        if position % SNAPSHOT_EVERY == 0:
            self.keep()
        return result

    def keep(self) -> None:
        """Keep a snapshot as of the newest frame."""
        if self.position is not None and self._given:
            self._snapshots.add(
                self._rows, Kept(self.position, tuple(self._given), self._tracker.snapshot(), self.exact)
            )

    @property
    def objects(self) -> set[int]:
        """Objects that were prompted, whether the tracker still holds them or not."""
        return {number for _, number, _ in self._given}

    def remove(self, object: int) -> None:
        """Forget an object."""
        self._tracker.remove(str(object))
        self._given = [given for given in self._given if given[1] != object]
        self.exact = False

    def _kept_prompts(self, earlier: list[Given], begin: int) -> list[int]:
        """Positions before `begin` of the keyframes that the memory bank would still hold: of each object the first,
        and the newest ones."""
        most = self._tracker.config.max_conditioning_frames
        chosen: set[int] = set()
        for number in {given[1] for given in earlier}:
            positions = [given[0] for given in earlier if given[1] == number and given[0] < begin]
            chosen |= {*positions[:1], *positions[1:][-(most - 1) :]}
        return sorted(chosen)


def _prompts(keyframes: Mapping[int, Mapping[int, Keyframe]]) -> list[Given]:
    """All keyframes in the order in which a straight run meets them."""
    return sorted(
        (at, number, key.run_id)
        for number, keys in keyframes.items()
        for at, key in keys.items()
        if not key.empty
    )
