# SPDX-License-Identifier: Apache-2.0
"""Decides how often a video of constant frame rate shows each frame, so that time runs as in the source.

Knows time stamps only. In a pause the last frame is repeated; in a burst the frames that are too many are left out.
"""

from __future__ import annotations

MAX_PAUSE_S = 10.0
# A deviation below this share of a frame interval counts as jitter: the frame is shown once.
_JITTER = 0.75


class VideoPace:
    """Call `repeats` once per frame, in order.

    Args:
        fps: frames per second of the video.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._start_s = 0.0
        self._last_s: float | None = None
        self._shown = 0

    def repeats(self, stamp_s: float) -> int:
        """Return how often to repeat the last frame before the one of `stamp_s`; -1 = leave this frame out.

        A stamp that is not later than the last one (another source, a clip that starts again) follows without a pause.
        A pause above 10 s is shown as 10 s.
        """
        if self._last_s is None or stamp_s <= self._last_s:
            self._follow(stamp_s)
            return 0
        pause_s = stamp_s - self._last_s
        self._last_s = stamp_s
        behind = (stamp_s - self._start_s) * self._fps - self._shown
        if pause_s > MAX_PAUSE_S:
            repeats = round(MAX_PAUSE_S * self._fps)
            self._shown += repeats
            self._follow(stamp_s)
            return repeats
        if behind <= -1 - _JITTER:
            return -1
        repeats = max(0, int(behind + 1 - _JITTER))
        self._shown += repeats + 1
        return repeats

    def _follow(self, stamp_s: float) -> None:
        """Show the frame next, and measure time from there."""
        self._start_s = stamp_s - self._shown / self._fps
        self._last_s = stamp_s
        self._shown += 1
