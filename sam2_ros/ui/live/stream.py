# SPDX-License-Identifier: Apache-2.0
"""Puts images and results of one stamp together, and keeps the newest pair; measures rate and latency.

Keeps serialized messages: only what is shown is decoded. Imports no ROS.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass

from sam2_ros.media.messages.cdr_header import header_stamp_ns

MOST_BYTES, MOST_IMAGES = 64 << 20, 64  # of images that wait for their result
ALONE_S = 2.0  # without a result for so long, images are shown without
RATE_S = 5.0
LATE_NS = 1_000_000_000  # an image that is older than the newest by less has only come late
_LATENCIES = 15  # the median of the last ones is shown
_PLAUSIBLE_MS = (
    10_000.0  # the camera's clock is another one if a result is older than this, or comes from the future
)


@dataclass(frozen=True)
class Moment:
    """An image, and what the node found in it.

    Attributes:
        stamp_ns: of the image's header.
        image: serialized Image or CompressedImage.
        compressed: it is a CompressedImage.
        objects: serialized TrackedObjectArray; None if no result came.
    """

    stamp_ns: int
    image: bytes
    compressed: bool
    objects: bytes | None


@dataclass(frozen=True)
class Pace:
    """How fast results come.

    Attributes:
        results_hz: results per second over the last seconds.
        latency_ms: median over the last results; None before the first.
        from_stamp: the latency counts from the image's stamp; False: from the image's arrival here, as the camera's
            clock is another one.
    """

    results_hz: float
    latency_ms: float | None
    from_stamp: bool


class Stream:
    """The newest moment of a camera. Thread-safe; `add_image` and `add_objects` return at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._images: OrderedDict[int, tuple[bytes, bool, float]] = OrderedDict()
        self._bytes = 0
        self._early: tuple[int, bytes] | None = None  # a result whose image has not come yet
        self._newest: Moment | None = None
        self._results_s: deque[float] = deque(maxlen=1000)
        self._latencies: deque[tuple[float, bool]] = deque(maxlen=_LATENCIES)
        self.images = 0
        """Number of images that came."""

    def add_image(self, cdr: bytes, compressed: bool) -> None:
        """Take an image."""
        stamp_ns, now_s = header_stamp_ns(cdr), time.monotonic()
        with self._changed:
            self.images += 1
            if self._images and stamp_ns < next(reversed(self._images)) - LATE_NS:
                self._forget_images()  # time has jumped back: a bag that loops, another camera
            self._forget_until(stamp_ns, only=True)
            self._images[stamp_ns] = (cdr, compressed, now_s)
            self._bytes += len(cdr)
            while len(self._images) > 1 and (self._bytes > MOST_BYTES or len(self._images) > MOST_IMAGES):
                self._bytes -= len(self._images.popitem(last=False)[1][0])
            if self._early is not None and self._early[0] == stamp_ns:
                self._show(stamp_ns, self._early[1])
            elif now_s - self._last_result_s > max(ALONE_S, 3 * self._interval_s()):
                self._show(stamp_ns, None)

    def add_objects(self, cdr: bytes, clock_ns: int) -> None:
        """Take a result. `clock_ns`: time on the clock that stamps are compared with."""
        stamp_ns, now_s = header_stamp_ns(cdr), time.monotonic()
        with self._changed:
            self._results_s.append(now_s)
            found = self._images.get(stamp_ns)
            since_stamp_ms = (clock_ns - stamp_ns) / 1e6
            if 0 <= since_stamp_ms < _PLAUSIBLE_MS:
                self._latencies.append((since_stamp_ms, True))
            elif found is not None:
                self._latencies.append(((now_s - found[2]) * 1e3, False))
            if found is None:
                self._early = (stamp_ns, cdr)
            else:
                self._show(stamp_ns, cdr)

    def take(self, timeout_s: float) -> Moment | None:
        """The newest moment that was not taken yet; None if there is none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None, timeout_s)
            newest, self._newest = self._newest, None
            return newest

    def pace(self) -> Pace:
        """Rate and latency now."""
        with self._changed:
            now_s = time.monotonic()
            recent = [time_s for time_s in self._results_s if now_s - time_s <= RATE_S]
            hz = 0.0
            if len(recent) > 1:  # the interval ends now, so that the rate falls when results stop
                hz = (len(recent) - 1) / max(recent[-1] - recent[0], now_s - recent[-1], 1e-3)
            if not self._latencies:
                return Pace(hz, None, True)
            latency_ms = statistics.median(latency for latency, _ in self._latencies)
            return Pace(hz, latency_ms, all(from_stamp for _, from_stamp in self._latencies))

    @property
    def silent_s(self) -> float:
        """Seconds since the last result; infinite before the first."""
        return time.monotonic() - self._last_result_s

    def reset(self) -> None:
        """Forget everything: another node, or another camera."""
        with self._changed:
            self._forget_images()
            self._early = self._newest = None
            self._results_s.clear()
            self._latencies.clear()

    @property
    def _last_result_s(self) -> float:
        return self._results_s[-1] if self._results_s else float("-inf")

    def _interval_s(self) -> float:
        if len(self._results_s) < 2:
            return 0.0
        return self._results_s[-1] - self._results_s[-2]

    def _show(self, stamp_ns: int, objects: bytes | None) -> None:
        image, compressed, _ = self._images[stamp_ns]
        self._newest, self._early = Moment(stamp_ns, image, compressed, objects), None
        if objects is not None:
            self._forget_until(stamp_ns)
        self._changed.notify_all()

    def _forget_until(self, stamp_ns: int, only: bool = False) -> None:
        """Forget the image of this stamp, and those before it unless `only`."""
        for known in [stamp_ns] if only else [known for known in self._images if known <= stamp_ns]:
            if (gone := self._images.pop(known, None)) is not None:
                self._bytes -= len(gone[0])

    def _forget_images(self) -> None:
        self._images.clear()
        self._bytes = 0
