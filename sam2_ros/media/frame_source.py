# SPDX-License-Identifier: Apache-2.0
"""Frame sources: the frame, the iterator over frames, natural order of file names, gaps between stamps, the error.

Knows no file format; each format has its own module, and `frames.open_source` chooses it.
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Literal

import numpy as np

from sam2_ros.errors import UserError

DEFAULT_FPS = 30.0
NS_PER_S = 1_000_000_000
MISSING_LISTED = 1000  # the numbers of so many missing frames are listed; all are counted
_REASONS_LOGGED, _FRAMES_NAMED = 20, 5

_log = logging.getLogger(__name__)


class SourceError(UserError):
    """An input cannot be used. One line: what was given, what was expected, what to do."""


@dataclass(frozen=True)
class Frame:
    """One image of a source.

    Attributes:
        index: position in the source; an image that does not decode leaves a gap.
        stamp_ns: the image's own time in nanoseconds: since 1970 in a bag; from the file names in a folder with stamps
            as names; else since the first frame.
        image: ``[H, W, 3]`` uint8 RGB.
        frame_id: camera frame of a ROS image, else empty.
        name: name of the frame's file in a folder, else empty.
    """

    index: int
    stamp_ns: int
    image: np.ndarray
    frame_id: str = ""
    name: str = ""

    @property
    def stamp_s(self) -> float:
        return self.stamp_ns / NS_PER_S


@dataclass
class _Skips:
    """The frames that were skipped for one reason."""

    first: str
    reason: str
    more: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        self.more += 1
        if len(self.named) < _FRAMES_NAMED:
            self.named.append(what)


class FrameSource(ABC):
    """A finite sequence of frames; iterating again starts from the first one.

    Attributes:
        name: the path as given.
        kind: video, folder or bag.
        fps: frames per second, from the container or estimated from stamps.
        length: announced number of frames, with damaged ones; None = unknown.
        topic: image topic of a bag, else None.
        frame_id: camera frame of a bag's images, else empty.
        has_stamps: False if the stamps are only index / fps.
        skipped: number of frames of the last pass that did not decode.
        missing: the numbers of these frames, the first thousand.
    """

    name: str
    kind: Literal["video", "folder", "bag"]
    fps: float
    length: int | None
    topic: str | None = None
    frame_id: str = ""
    has_stamps: bool = True
    skipped: int = 0
    missing: tuple[int, ...] = ()
    _next_index: int = 0
    _skips: dict[str, _Skips]  # by reason, of the last pass

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order. Damaged ones are logged, counted in `skipped` and left out.

        Raises SourceError if no frame decodes.
        """
        self.skipped, self.missing, self._next_index = 0, (), 0
        self._skips = {}
        good = 0
        for frame in self._frames():
            good += 1
            self._miss_until(frame.index)
            self._next_index = frame.index + 1
            yield frame
        self._miss_until(self.length or 0)
        if not good:
            raise SourceError(f"no frame of '{self.name}' decodes{self._announced()}{self._why_none()}")
        for skips in self._skips.values():
            if skips.more:
                _log.warning(
                    "skipped %d more of '%s' for the same reason as %s: %s%s",
                    skips.more,
                    self.name,
                    skips.first,
                    ", ".join(skips.named),
                    ", ..." if skips.more > len(skips.named) else "",
                )

    def frames_from(self, first: int) -> Iterator[Frame]:
        """Yield the frames from number `first` on. Damaged ones are left out and not counted.

        The frames before it are decoded and dropped, unless the format has a shorter way.
        """
        return (frame for frame in self if frame.index >= first)

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """Yield the frames that decode; call `_skip` for each that does not."""

    def _skip(self, what: str, reason: object) -> None:
        """Count a frame that does not decode. Logs the first for each reason now, the others in one line at the end."""
        self.skipped += 1
        kind = re.sub(r"\d+", "#", str(reason))
        if kind not in self._skips and len(self._skips) >= _REASONS_LOGGED:
            kind = ""
        if kind in self._skips:
            self._skips[kind].add(what)
            return
        self._skips[kind] = _Skips(what, str(reason))
        _log.warning("skipped %s of '%s': %s", what, self.name, reason)

    def _miss_until(self, index: int) -> None:
        """Record the numbers from the next expected one up to `index` (exclusive) as missing."""
        room = MISSING_LISTED - len(self.missing)
        if index > self._next_index:
            self.missing += tuple(range(self._next_index, index)[:room])
            self._next_index = index

    def reaches(self, index: int) -> bool:
        """False if the source certainly has no frame with this number; known before a pass."""
        return self.length is None or index < self.length

    def _why_none(self) -> str:
        """Return the most common reason, with a count, for the error message."""
        if not self._skips:
            return "; check it in a viewer"
        commonest = max(self._skips.values(), key=lambda skips: skips.more)
        return f": {commonest.more + 1} of {self.skipped} skipped, as {commonest.reason}"

    def _announced(self) -> str:
        return "" if self.length is None else f", though it announces {self.length}"

    def close(self) -> None:  # noqa: B027 -- most sources hold nothing open between passes
        """Release files."""

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def is_increasing(stamps_ns: Sequence[int]) -> bool:
    """True if each stamp is later than the one before."""
    return all(later > earlier for earlier, later in pairwise(stamps_ns))


def median_gap_ns(stamps_ns: Sequence[int]) -> float:
    """Return the median of the positive gaps between successive stamps; without one, the gap of `DEFAULT_FPS`."""
    gaps_ns = [later - earlier for earlier, later in pairwise(stamps_ns) if later > earlier]
    return median(gaps_ns) if gaps_ns else NS_PER_S / DEFAULT_FPS


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts `frame10` after `frame9`, with or without leading zeros."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in parts if part]
