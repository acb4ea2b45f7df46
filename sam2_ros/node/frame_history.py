# SPDX-License-Identifier: Apache-2.0
"""Keeps the camera's recent images, notes which of them were tracked, and finds the image of a stamp.

Knows stamps and messages; does not convert or track anything. Images are kept as received, without a copy.
"""

from __future__ import annotations

import itertools
import statistics
import threading
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import Any

from .limits import Limits

UNKNOWN_PERIOD_TOLERANCE_NS = 25e6  # half a period of a 20 Hz camera, until two images have come
PERIOD_IMAGES = 32  # the frame period is the median over this many newest images
# Images are also dropped this many times `seconds` after their receipt, because stamps need not advance with time. The
# factor lets a stream played at a fifth of its speed keep its whole history.
RECEIPT_FACTOR = 5.0
MAX_IMAGES = 4096  # a minute of a 60 Hz camera

# An image older than the newest by less than this is late and is dropped; by more, time has jumped back.
LATE_S = 1.0
# This many late images in a row, in ascending order, are a jump back as well: a short bag that loops.
LATE_IN_A_ROW = 3


@dataclass(frozen=True)
class StampedImage:
    """An image as received; it is converted only when it is tracked. `received_s` is on the steady clock."""

    message: Any
    stamp_ns: int
    frame_id: str
    received_s: float

    @property
    def bytes(self) -> int:
        """Size of its pixel data."""
        return len(getattr(self.message, "data", b""))


class FrameHistory:
    """The images of the last `seconds` (by their stamps), at most `max_bytes`. Thread-safe.

    Of images without a stamp only the newest is kept.

    Attributes:
        cut: number of images dropped early, to stay within `max_bytes` or `MAX_IMAGES`.
        newest: the newest image that was not late.
        restarts: number of times that it began anew, after a jump in time or a change of the camera.
    """

    def __init__(self, seconds: float, max_bytes: int = Limits.history_bytes) -> None:
        self.seconds = seconds
        self.max_bytes = max_bytes
        self.cut = 0
        self.restarts = 0
        self._lock = threading.Lock()
        self._images: list[StampedImage] = []  # each newer than the one before
        self._bytes = 0
        self._cut_until_ns = 0  # stamp of the newest image that was dropped early
        self._tracked: deque[tuple[int, int]] = deque(maxlen=MAX_IMAGES)  # stamp_ns, frame_index
        self.newest: StampedImage | None = None
        self._late: list[StampedImage] = []  # late images since the last one in order
        self._form: Any = None

    def add(self, image: StampedImage, form: Any = None) -> bool:
        """Add a received image; False if it is late and must not be tracked.

        Another camera, another `form` (size, encoding) or a jump back in time starts a new history.
        """
        with self._lock:
            before = self.newest
            if before is not None:
                if self._came_late(image, before):
                    return False
                if (
                    image.frame_id != before.frame_id
                    or image.stamp_ns < before.stamp_ns
                    or form != self._form
                ):
                    self._forget()
            self._late.clear()
            self.newest, self._form = image, form
            if image.stamp_ns:
                self._keep(image)
            return True

    def _came_late(self, image: StampedImage, newest: StampedImage) -> bool:
        """True for a single image that arrives soon after a newer one; False if time has jumped back."""
        behind_ns = newest.stamp_ns - image.stamp_ns
        if image.frame_id != newest.frame_id or not image.stamp_ns or not 0 < behind_ns < LATE_S * 1e9:
            return False
        if image.received_s - newest.received_s > LATE_S:
            return False
        if self._late and image.stamp_ns < self._late[-1].stamp_ns:
            self._late.clear()
        self._late.append(image)
        return len(self._late) < LATE_IN_A_ROW

    def _keep(self, image: StampedImage) -> None:
        kept = self._images
        if kept and kept[-1].stamp_ns == image.stamp_ns:
            self._bytes -= kept.pop().bytes
        kept.append(image)
        self._bytes += image.bytes
        over, gone = 0, 0
        oldest_ns = image.stamp_ns - self.seconds * 1e9
        oldest_received_s = image.received_s - RECEIPT_FACTOR * self.seconds
        while gone < len(kept) - 1 and (
            kept[gone].stamp_ns < oldest_ns
            or kept[gone].received_s < oldest_received_s
            or self._bytes > self.max_bytes
            or len(kept) - gone > MAX_IMAGES
        ):
            if kept[gone].stamp_ns >= oldest_ns:
                over, self._cut_until_ns = over + 1, kept[gone].stamp_ns
            self._bytes -= kept[gone].bytes
            gone += 1
        self.cut += over
        del kept[:gone]
        while self._tracked and self._tracked[0][0] < kept[0].stamp_ns:
            self._tracked.popleft()

    def _forget(self) -> None:
        self.restarts += 1
        self._images.clear()
        self._tracked.clear()
        self._bytes = self._cut_until_ns = 0

    def mark_tracked(self, stamp_ns: int, frame_index: int) -> None:
        """Note that an image was tracked, as the tracker's frame `frame_index`."""
        with self._lock:
            if stamp_ns and self._images:
                self._tracked.append((stamp_ns, frame_index))

    @property
    def newest_stamp_ns(self) -> int:
        """0 before the first image."""
        return self.newest.stamp_ns if self.newest is not None else 0

    @property
    def bytes(self) -> int:
        """Size of all kept images."""
        return self._bytes

    def was_cut(self, stamp_ns: int) -> bool:
        """True if an image of that stamp may have been dropped early."""
        return bool(self._cut_until_ns) and stamp_ns <= self._cut_until_ns + self.tolerance_ns()

    def tolerance_ns(self) -> float:
        """Half a frame period: stamps closer than this belong to the same image."""
        with self._lock:
            stamps = [image.stamp_ns for image in self._images[-PERIOD_IMAGES:]]
        gaps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
        return statistics.median(gaps) / 2 if gaps else UNKNOWN_PERIOD_TOLERANCE_NS

    def nearest(self, stamp_ns: int) -> StampedImage | None:
        """The image with the nearest stamp, however far; None if there are no images."""
        with self._lock:
            index = bisect_left(self._images, stamp_ns, key=_stamp_ns)
            around = self._images[max(0, index - 1) : index + 1]
            return min(around, key=lambda image: abs(image.stamp_ns - stamp_ns), default=None)

    def at(self, stamp_ns: int) -> StampedImage | None:
        """The image of a stamp: the nearest one within half a frame period, or None."""
        nearest = self.nearest(stamp_ns)
        if nearest is None or abs(nearest.stamp_ns - stamp_ns) > self.tolerance_ns():
            return None
        return nearest

    def between(self, after_ns: int, until_ns: int) -> list[StampedImage]:
        """Images later than `after_ns`, up to `until_ns`, in order."""
        with self._lock:
            first = bisect_left(self._images, after_ns + 1, key=_stamp_ns)
            last = bisect_left(self._images, until_ns + 1, key=_stamp_ns)
            return self._images[first:last]

    def frame_index_from(self, stamp_ns: int) -> int | None:
        """The tracker's frame index of the first tracked image at or after the stamp; None if there is none."""
        with self._lock:
            return next(
                (frame_index for tracked_ns, frame_index in self._tracked if tracked_ns >= stamp_ns), None
            )


def _stamp_ns(image: StampedImage) -> int:
    return image.stamp_ns
