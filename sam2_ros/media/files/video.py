# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file, with their true numbers and the container's time stamps.

Reads videos with OpenCV and skips damaged frames. Does not know what frames are used for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import cv2

from sam2_ros.media.frame_source import DEFAULT_FPS, Frame, FrameSource, SourceError
from sam2_ros.media.opencv_log import quiet_opencv

from .container import read_container
from .numbers import FrameNumbers, Timing

# Packets that are inspected before decoding: enough to distinguish a constant rate from a varying one.
_SAMPLE = 300
# So many failed reads in a row are the end of the video, if the container does not state its number of frames.
_FAILED_READS = 100
_MAX_FAILED_READS = 10_000  # 0.3 s: a failing read at the end of a file takes up to 30 us
_MAX_OVERLAY_FPS = 60.0
_MAX_FPS = 1000.0  # frames per second; a higher announced rate is a clock's tick rate
_MAX_START_S = 1e10

_log = logging.getLogger(__name__)


class VideoFrames(FrameSource):
    """Stamps are the container's, from 0 at the first frame; index / fps if it has none.

    A frame that does not decode is left out, and the frames after it keep their numbers. A frame counts as missing only
    with evidence: a failed read, a frame count stated by the container, a file that ends early. A gap in the time
    stamps alone is a variable frame rate.
    """

    kind = "video"

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._warned: set[str] = set()
        capture, self._by_ffmpeg = self._capture()
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._announced_rate = rate
        # An audio file with a cover image announces one frame at 90000 per second, and a count estimated from that.
        believed = 0 < count < 1e12 and not rate > _MAX_FPS
        self._announced_count = int(count) if believed else None
        self.length = self._announced_count
        decodes = any(capture.read()[0] for _ in range(self._patience(0)))
        capture.release()
        if not decodes:
            raise SourceError(
                f"video '{path}' opens but no frame decodes{self._announced()}; it is truncated or its "
                "codec is not in this OpenCV build, re-encode it (`ffmpeg -i IN -c:v libx264 OUT.mp4`)"
            )
        self._container = read_container(path)
        self._timing = self._sampled()
        self.fps = self._rate(rate)
        self.length = self._shown_count()

    def reaches(self, index: int) -> bool:
        if self.length is None or index < self.length:
            return True
        # An announced count can be too low: count the packets.
        return self._by_ffmpeg and index < len(self._packet_times_ms())

    def _frames(self) -> Iterator[Frame]:
        capture, _ = self._capture()
        counted = self._announced_count if self._container.counts_frames else None
        numbers = FrameNumbers(self.fps, self._timing, self._container.form == "avi", counted)
        decoded = 0
        try:
            while True:
                ok, image_bgr = capture.read()
                if not ok:
                    numbers.failed()
                    if numbers.failed_in_a_row > self._patience(numbers.next_index):
                        break
                    continue
                at_ms = capture.get(cv2.CAP_PROP_POS_MSEC) if self._by_ffmpeg else math.nan
                if decoded == 0:
                    numbers.start_s = self._start_s(capture)
                if numbers.out_of_order(at_ms):
                    continue
                index, stamp_ns = numbers.decoded(at_ms)
                decoded += 1
                yield Frame(index, stamp_ns, cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB))
        finally:
            capture.release()
            self.skipped = numbers.lost
        end = numbers.next_index + self._lost_at_the_end(numbers)
        self.length = end
        self.skipped = end - decoded
        self._miss_until(end)
        self._report(numbers, decoded, end)

    def _lost_at_the_end(self, numbers: FrameNumbers) -> int:
        """Return the number of frames lost after the last one that decoded."""
        if not numbers.next_index:
            return 0
        announced = self._announced_count
        short = 0 if announced is None else max(0, announced - numbers.next_index)
        if self._container.missing_bytes and short:
            return short
        if self._container.counts_frames:
            shown_s = self._container.shown_s
            if short and shown_s is not None:  # an edit list shows less than the track has
                left = round((shown_s - numbers.shown_to_s) * self.fps)
                return min(short, max(0, left))
            return short
        if self._by_ffmpeg and self._timing.stamped and (short or announced is None):
            # The announced count is an estimate; the packets after the last frame are certain.
            behind_ms = numbers.last_ms + 750 / self.fps
            return sum(1 for at_ms in self._packet_times_ms() if at_ms > behind_ms)
        return 0

    def _report(self, numbers: FrameNumbers, decoded: int, end: int) -> None:
        """Log one line for each problem, in the first pass only."""
        missing_bytes = self._container.missing_bytes
        if missing_bytes and end > numbers.next_index:
            self._warn_once(
                f"video '{self.name}' ends early: {decoded} frames decode, {self._announced_count} announced; "
                f"it is truncated, {missing_bytes} bytes are missing"
            )
        elif self.skipped:
            shown = ", ".join(str(number) for number in self.missing[:8])
            more = f" and {self.skipped - 8} more" if self.skipped > 8 else ""
            self._warn_once(
                f"video '{self.name}': {self.skipped} of {end} frames do not decode and are left out: {shown}{more}"
            )
        elif (short_s := self._unseen_s(numbers)) > 0:
            self._warn_once(
                f"video '{self.name}' announces {short_s:.1f} s more after the last frame that decodes: the rest may "
                "be damaged, or sound without images"
            )
        if numbers.gaps and not self._container.counts_frames:
            self._warn_once(
                f"video '{self.name}': frames {1 / self.fps:.3g} s apart with {numbers.gaps} longer pause(s), the "
                f"first before frame {numbers.first_gap}: its rate varies, or damaged frames were removed; frames are "
                "numbered as they decode, stamps are the container's"
            )
        if numbers.repaired > 1:  # the last one of an AVI with reordered frames has none
            self._warn_once(
                f"video '{self.name}': the time stamps of {numbers.repaired} frames do not increase; each is placed "
                f"one frame, at {self.fps:g} per second, after the frame before it"
            )

    def _unseen_s(self, numbers: FrameNumbers) -> float:
        """Return the announced seconds after the last frame, if the container states no frame count.

        0 if below one second or a twentieth of the duration.
        """
        if self._container.counts_frames or self._announced_count is None or not self._timing.regular:
            return 0.0
        if not self._timing.stamped or not 0 < self._announced_rate < math.inf:
            return 0.0
        says_s = self._announced_count / self._announced_rate - numbers.start_s
        short_s = says_s - numbers.shown_to_s
        return short_s if short_s > max(1.0, 0.05 * says_s) else 0.0

    def _start_s(self, capture: cv2.VideoCapture) -> float:
        """Return the container's start time in seconds; its announced duration includes it."""
        if not self._by_ffmpeg or not hasattr(cv2, "CAP_PROP_PTS"):
            return 0.0
        start_s = capture.get(cv2.CAP_PROP_PTS) / self.fps - capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        return start_s if abs(start_s) < _MAX_START_S else 0.0  # no PTS is -2^63

    def _warn_once(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            _log.warning("%s", line)

    def _patience(self, index: int) -> int:
        """Return how many failed reads in a row end the video. At its end every read fails, and is fast."""
        left = 0 if self._announced_count is None else self._announced_count - index
        return min(max(_FAILED_READS, left), _MAX_FAILED_READS)

    def _rate(self, announced: float) -> float:
        usual_s = self._timing.usual_s
        valid = math.isfinite(announced) and 0 < announced <= _MAX_FPS
        if usual_s is None:
            if not valid:
                self._warn_once(
                    f"video '{self.name}' announces {announced} frames per second: assuming {DEFAULT_FPS:g}"
                )
            if not self._timing.stamped:
                rate = announced if valid else DEFAULT_FPS
                self._warn_once(f"video '{self.name}' has no time stamps: frame / {rate:g} is used")
            return float(announced) if valid else DEFAULT_FPS
        if valid and abs(announced * usual_s - 1) < 0.05:
            return float(announced)
        usual = min(1 / usual_s, max(_MAX_OVERLAY_FPS, announced) if valid else _MAX_FPS)
        what = "varies" if valid else "is not announced"
        _log.info("video '%s': its rate %s, %g frames per second are usual", self.name, what, usual)
        return usual

    def _shown_count(self) -> int | None:
        """Return the announced number of frames, without those that an edit list hides."""
        shown_s = self._container.shown_s
        if self._announced_count is None or shown_s is None or not self._timing.regular:
            return self._announced_count
        return min(self._announced_count, max(1, round(shown_s * self.fps)))

    def _sampled(self) -> Timing:
        if not self._by_ffmpeg:
            return Timing(stamped=False)
        times_ms = self._packet_times_ms(_SAMPLE)
        distinct = sorted(set(times_ms))
        if len(distinct) < 2:
            return Timing(stamped=len(times_ms) < 2)
        # Packets that are not shown (hidden frames of VP8) share the time stamp of another.
        if len(distinct) < len(times_ms) / 2:
            return Timing(stamped=False)
        gaps_ms = [later - earlier for earlier, later in pairwise(distinct)]
        usual_ms = median(gaps_ms)
        near = sum(abs(gap - usual_ms) <= max(1.1, 0.1 * usual_ms) for gap in gaps_ms)
        return Timing(True, usual_ms / 1e3, near >= 0.9 * len(gaps_ms))

    def _packet_times_ms(self, limit: int | None = None) -> list[float]:
        """Return the time stamps (ms) of the first packets, in the order of the file, without decoding them."""
        capture, _ = self._capture()
        times_ms: list[float] = []
        failed = 0
        try:
            if not capture.set(cv2.CAP_PROP_FORMAT, -1):
                return times_ms
            while failed < _FAILED_READS and (limit is None or len(times_ms) < limit):
                if capture.grab():
                    times_ms.append(round(capture.get(cv2.CAP_PROP_POS_MSEC), 3))
                    failed = 0
                else:
                    failed += 1
        finally:
            capture.release()
        return times_ms

    def _capture(self) -> tuple[cv2.VideoCapture, bool]:
        """Open the video; also returns True if FFmpeg reads it: other backends' time stamps have another meaning."""
        # OpenCV would otherwise also try a broken `clip01.mp4` as a numbered series of images.
        has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
        with quiet_opencv():
            capture = cv2.VideoCapture(self.name, cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY)
        if not capture.isOpened():
            size_bytes = self._path.stat().st_size
            raise SourceError(
                f"'{self.name}' ({size_bytes} bytes) does not open as a video: it is empty, truncated (an .mp4 "
                "whose recorder was killed has no index) or not a video; expected a video file, a folder of "
                "frames or a rosbag2"
            )
        return capture, has_ffmpeg
