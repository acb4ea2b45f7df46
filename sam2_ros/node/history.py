"""The recent past of the camera: which images came, which of them were tracked, and which one a stamp means.

Knows stamps and messages; does not convert or track anything. Images are kept as they came in, without a copy.
"""

from __future__ import annotations

import itertools
import statistics
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

UNKNOWN_PERIOD_TOLERANCE_NS = 25e6  # half a period of a 20 Hz camera, until two images have come


@dataclass(frozen=True)
class Arrival:
    """An image as it came in; it is converted only if its turn comes. `received_s` is of the steady clock."""

    message: Any
    stamp_ns: int
    frame_id: str
    received_s: float


@dataclass(frozen=True)
class Tracked:
    """An image that was tracked, as the tracker's frame `frame_index`."""

    stamp_ns: int
    frame_index: int


class FrameHistory:
    """The images of the last `seconds`, by their stamps. Thread-safe.

    Images without a stamp cannot be asked for, only the newest one is kept.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._arrivals: deque[Arrival] = deque()
        self._tracked: deque[Tracked] = deque()
        self._newest: Arrival | None = None
        self._form: Any = None

    def saw(self, arrival: Arrival, form: Any = None) -> None:
        """Note an image that arrived.

        Another camera, another form (size, encoding) or time running backwards starts a new history.
        """
        with self._lock:
            before = self._newest
            if before is not None and (
                arrival.frame_id != before.frame_id
                or arrival.stamp_ns < before.stamp_ns
                or form != self._form
            ):
                self._arrivals.clear()
                self._tracked.clear()
            self._newest, self._form = arrival, form
            if not arrival.stamp_ns:
                return
            if self._arrivals and self._arrivals[-1].stamp_ns == arrival.stamp_ns:
                self._arrivals.pop()
            self._arrivals.append(arrival)
            oldest_ns = arrival.stamp_ns - self.seconds * 1e9
            for entries in (self._arrivals, self._tracked):
                while entries and entries[0].stamp_ns < oldest_ns:
                    entries.popleft()

    def tracked(self, stamp_ns: int, frame_index: int) -> None:
        """Note that an image was tracked."""
        with self._lock:
            if stamp_ns and self._arrivals:
                self._tracked.append(Tracked(stamp_ns, frame_index))

    def clear(self) -> None:
        with self._lock:
            self._arrivals.clear()
            self._tracked.clear()
            self._newest = None

    @property
    def newest(self) -> Arrival | None:
        return self._newest

    @property
    def newest_stamp_ns(self) -> int:
        """0 before the first image."""
        return self._newest.stamp_ns if self._newest is not None else 0

    @property
    def bytes(self) -> int:
        """What the images kept here hold."""
        with self._lock:
            return sum(len(arrival.message.data) for arrival in self._arrivals)

    def tolerance_ns(self) -> float:
        """Half a frame period: stamps closer than this mean the same image."""
        with self._lock:
            stamps = [arrival.stamp_ns for arrival in self._arrivals]
        gaps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
        return statistics.median(gaps) / 2 if gaps else UNKNOWN_PERIOD_TOLERANCE_NS

    def nearest(self, stamp_ns: int) -> Arrival | None:
        """The image whose stamp is nearest, whatever the distance; None when there is none."""
        with self._lock:
            return min(self._arrivals, key=lambda arrival: abs(arrival.stamp_ns - stamp_ns), default=None)

    def at(self, stamp_ns: int) -> Arrival | None:
        """The image a stamp means: the nearest one within half a frame period."""
        nearest = self.nearest(stamp_ns)
        if nearest is None or abs(nearest.stamp_ns - stamp_ns) > self.tolerance_ns():
            return None
        return nearest

    def between(self, after_ns: int, until_ns: int) -> list[Arrival]:
        """Images later than `after_ns`, up to `until_ns`, in order."""
        with self._lock:
            return [arrival for arrival in self._arrivals if after_ns < arrival.stamp_ns <= until_ns]

    def frame_index_from(self, stamp_ns: int) -> int | None:
        """The tracker's number of the first tracked image that is not older; None when all are."""
        with self._lock:
            return next((entry.frame_index for entry in self._tracked if entry.stamp_ns >= stamp_ns), None)
