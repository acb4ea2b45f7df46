# SPDX-License-Identifier: Apache-2.0
"""Decides how often a video of constant frame rate shows each frame, so that its time passes as in the source.

Knows time stamps only; a pause becomes a still picture, and the frames of a burst that have no room are left out.
"""

from __future__ import annotations

LONGEST_STILL_S = 10.0
# Frames off by less than this share of a frame are jitter: each is shown once.
_JITTER = 0.75


class VideoPace:
    """One frame after another: `repeats` says how often the last one is shown again before this one is.

    Args:
        fps: of the video.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._start_s = 0.0
        self._last_s: float | None = None
        self._shown = 0

    def repeats(self, stamp_s: float) -> int:
        """How often to show the last frame again before the one of `stamp_s`; -1 to leave this one out.

        A stamp that is not later than the last one (another source, a clip that starts again) follows at once, and so
        does one after more than 10 s, which are shown.
        """
        if self._last_s is None or stamp_s <= self._last_s:
            self._follow(stamp_s)
            return 0
        pause_s = stamp_s - self._last_s
        self._last_s = stamp_s
        behind = (stamp_s - self._start_s) * self._fps - self._shown
        if pause_s > LONGEST_STILL_S:
            repeats = round(LONGEST_STILL_S * self._fps)
            self._shown += repeats
            self._follow(stamp_s)
            return repeats
        if behind <= -1 - _JITTER:
            return -1
        repeats = max(0, int(behind + 1 - _JITTER))
        self._shown += repeats + 1
        return repeats

    def _follow(self, stamp_s: float) -> None:
        """Shows the frame in the next place, and counts the time from there."""
        self._start_s = stamp_s - self._shown / self._fps
        self._last_s = stamp_s
        self._shown += 1
