# SPDX-License-Identifier: Apache-2.0
"""Frame numbers and time stamps of a video, even with damaged frames.

Knows failed reads and the container's time stamps; reads no file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sam2_ros.media.frame_source import NS_PER_S

# A decoder that reorders frames reports a damaged frame before earlier frames in display order.
_REORDERED = 32
# A damaged key frame makes all frames that depend on it undecodable, for one to ten seconds.
_MAX_PER_FAILED = 600


@dataclass(frozen=True)
class Timing:
    """Time stamps of the first packets.

    Attributes:
        stamped: True if the container has time stamps; a raw H.264 stream has none.
        usual_s: median gap between frames, seconds; None with fewer than two.
        regular: True if nearly all gaps have this length.
    """

    stamped: bool
    usual_s: float | None = None
    regular: bool = True


class FrameNumbers:
    """Assigns frame numbers and stamps to the frames that decode, from failed reads and the container's time stamps.

    One failed read can mean several lost frames (all that depend on one); at a regular rate the time stamps show how
    many. A gap in the stamps alone is not evidence of lost frames, except in an AVI, whose times are frame / rate.

    Args:
        fps: frames per second.
        timing: time stamps of the first packets.
        by_time: True if gaps in the stamps are lost frames (AVI).
        counted: the number of frames that the container states; None = unknown.
    """

    def __init__(self, fps: float, timing: Timing, by_time: bool, counted: int | None) -> None:
        self._fps = fps
        self._timing = timing
        self._by_time = by_time
        self._counted = counted
        self._failed = 0  # failed reads whose frames are not yet counted as lost
        self._since_failed = 0
        self._base_ms: float | None = None
        self._stamp_ns = 0
        self._was_behind = False
        self.start_s = 0.0
        self.last_ms = -1e3 / fps
        self.failed_in_a_row = 0
        self.next_index = 0
        self.lost = 0
        self.repaired = 0
        self.gaps = 0
        self.first_gap = 0

    @property
    def shown_to_s(self) -> float:
        """The end of the last frame, in seconds from the start of the video."""
        return self.last_ms / 1e3 + 1 / self._fps

    def failed(self) -> None:
        self._failed += 1
        self.failed_in_a_row += 1
        self._since_failed = 0

    def out_of_order(self, at_ms: float) -> bool:
        """True if a frame decoded after a damaged one belongs before the last frame: too late, leave it out."""
        self.failed_in_a_row = 0
        if not self._failed or self._base_ms is None or not self._timing.stamped or not math.isfinite(at_ms):
            return False
        if round((at_ms - self._base_ms) * 1e6) > self._stamp_ns or self._since_failed >= _REORDERED:
            return False
        self._since_failed += 1
        return True

    def decoded(self, at_ms: float) -> tuple[int, int]:
        """Return number and stamp (ns) of a frame that decoded, with the container's time stamp `at_ms`."""
        if not self._timing.stamped or not math.isfinite(at_ms):
            lost = self._failed
            self._failed = 0
            stamp_ns = round((self.next_index + lost) * NS_PER_S / self._fps)
        else:
            if self._base_ms is None:
                # Time before the first frame does not count, unless a frame failed there.
                self._base_ms = 0.0 if self._failed else at_ms
            at_ms -= self._base_ms
            stamp_ns = round(at_ms * 1e6)
            first = self.next_index == 0
            if not first and stamp_ns <= self._stamp_ns:
                self.repaired += 1
                stamp_ns = self._stamp_ns + round(NS_PER_S / self._fps)
                if self._was_behind:  # not a single odd stamp but a clock that was set back: use it from here
                    self._base_ms -= stamp_ns / 1e6 - at_ms
                self._was_behind = True
                at_ms = stamp_ns / 1e6
            else:
                self._was_behind = False
            lost = self._lost(at_ms)
            self.last_ms = at_ms
        index = self.next_index + lost
        self.lost += lost
        self.next_index, self._stamp_ns = index + 1, stamp_ns
        self.failed_in_a_row = 0
        self._since_failed += 1
        if self._since_failed > _REORDERED:
            self._failed = 0
        return index, stamp_ns

    def _lost(self, at_ms: float) -> int:
        """Return the number of frames missing between the last one and this one."""
        if not self._timing.regular:
            lost, self._failed = self._failed, 0
        elif self._failed or self._by_time:
            lost = max(0, round((at_ms - self.last_ms) * self._fps / 1e3) - 1)
            if not self._by_time:
                lost = min(lost, self._failed * _MAX_PER_FAILED)  # a longer gap is a pause
        else:
            lost = 0
            if (at_ms - self.last_ms) * self._fps / 1e3 > 1.5 and self.next_index:
                self.gaps += 1
                self.first_gap = self.first_gap or self.next_index
        if self._counted is None:
            return lost
        return min(lost, max(0, self._counted - self.next_index - 1))
