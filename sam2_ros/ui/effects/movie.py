# SPDX-License-Identifier: Apache-2.0
"""Writes images as an mp4 that browsers play (H.264, yuv420p), each at its own time, with the sound of a file.

Knows PyAV, which is installed with the extra [ui]. Does not know where the images are from or what is drawn on them.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sam2_ros.atomic_write import atomic_write
from sam2_ros.errors import UserError
from sam2_ros.ui.cancelled import Cancelled

if TYPE_CHECKING:
    from .sound import SoundCopy

TICKS_PER_S = 90_000
"""Times in the file are whole multiples of 1/90000 s: exact for the usual rates, and fine enough for any other."""
_ENCODERS = ("libx264", "libopenh264", "h264")
_MIN_SIDE_PX = 2
_BT709 = 1  # of H.264's tables of colour spaces, primaries and transfer functions
_LIMITED_RANGE = 1


@dataclass(frozen=True)
class TimedImage:
    """One image of a movie, ``[H, W, 3]`` uint8 RGB, and the time at which it is shown, seconds."""

    image_rgb: np.ndarray
    stamp_s: float


@dataclass(frozen=True)
class MovieInfo:
    """What was written: frames, length in seconds, size in pixels (even), and one-line notes for the user."""

    frames: int
    length_s: float
    width_px: int
    height_px: int
    has_sound: bool
    notes: tuple[str, ...] = ()


def import_av() -> ModuleType:
    """Import PyAV. Raises UserError if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise UserError(
            f"a movie was asked for, but PyAV cannot be imported ({error}): `pip install av`, or sam2_ros[ui]"
        ) from None
    return av


def write_movie(
    path: Path,
    images: Iterable[TimedImage],
    fps: float,
    sound: Path | None = None,
    on_frame: Callable[[int], None] = lambda done: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> MovieInfo:
    """Write all images into an mp4; the file appears when it is complete.

    Times count from the first image. A time that is not later than the one before it follows at the usual distance.
    The first image decides the size; an odd side is extended by one row or column, an image of another size is scaled.

    Args:
        path: the file, replaced if it exists.
        images: in the order in which they are shown.
        fps: usual rate of the images, frames per second; decides how long the last one is shown.
        sound: a video or audio file whose first sound track is copied; one without sound, or an unreadable one, gives a
            movie without. Sound that an mp4 cannot hold is encoded anew as AAC.
        on_frame: called with the number of images written.
        is_cancelled: asked before every image.

    Raises:
        UserError: PyAV is missing or has no H.264 encoder, there is no image, or the file cannot be written.
        Cancelled: `is_cancelled` returned True; no file is left.
    """
    av = import_av()
    partial = path.with_name(f".{path.stem}.partial.mp4")
    try:
        with atomic_write(path, partial), _Movie(av, partial, fps, sound) as movie:
            for done, one in enumerate(images, start=1):
                if is_cancelled():
                    raise Cancelled(f"movie {path.name} was cancelled after {done - 1} frames")
                movie.add(one)
                on_frame(done)
            info = movie.finish()
    except av.FFmpegError as error:
        raise UserError(
            f"movie '{path}' cannot be written: {' '.join(str(error).split())}; is the disk full?", status=1
        ) from error
    return info


class _Movie:
    """The open file. Every image is encoded when the next one is known, as its duration is the time until then."""

    def __init__(self, av: ModuleType, path: Path, fps: float, sound: Path | None) -> None:
        from .sound import open_sound

        self._av = av
        self._clock = _Clock(fps)
        self._stream: Any = None
        self._waiting: deque[tuple[Any, int]] = deque()  # at most one frame, and its time in ticks
        self._durations: dict[int, int] = {}
        self._frames = self._last_tick = 0
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._sound: SoundCopy | None = None
        self.notes: list[str] = []
        try:
            if sound is not None:
                self._sound = open_sound(av, sound, self._container, self.notes.append)
        except BaseException:
            self._container.close()
            raise

    def add(self, one: TimedImage) -> None:
        if self._stream is None:
            self._stream = self._open_stream(one.image_rgb)
        tick = self._clock.tick(one.stamp_s)
        frame = self._av.VideoFrame.from_ndarray(self._fitted(one.image_rgb), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="itu709")
        frame.pts, frame.time_base = tick, Fraction(1, TICKS_PER_S)
        self._encode_waiting(tick)
        self._waiting.append((frame, tick))
        self._frames += 1

    def finish(self) -> MovieInfo:
        """Complete the file."""
        if self._stream is None:
            raise UserError(
                "a movie without frames was asked for, at least one expected: open a source with frames"
            )
        end = self._clock.end()
        self._encode_waiting(end)
        self._mux(self._stream.encode(None))
        has_sound = self._sound is not None
        if self._sound is not None:
            self._sound.copy_until(None)
        self._container.close()
        return MovieInfo(
            self._frames,
            end / TICKS_PER_S,
            self._stream.width,
            self._stream.height,
            has_sound,
            tuple(self.notes),
        )

    def _encode_waiting(self, until: int) -> None:
        while self._waiting:
            frame, tick = self._waiting.popleft()
            self._durations[tick] = until - tick
            self._mux(self._stream.encode(frame))
            if self._sound is not None:
                self._sound.copy_until(tick / TICKS_PER_S)

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._container.mux(packet)

    def _open_stream(self, image: np.ndarray) -> Any:
        name = next((name for name in _ENCODERS if self._can_encode(name)), None)
        if name is None:
            raise UserError(
                "this PyAV has no H.264 encoder, one of "
                f"{', '.join(_ENCODERS)} expected: `pip install av` brings libx264"
            )
        options = {"preset": "veryfast", "crf": "19"} if name == "libx264" else {}
        stream = self._container.add_stream(name, rate=self._clock.rate, options=options)
        height, width = (max(side + side % 2, _MIN_SIDE_PX) for side in image.shape[:2])
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        codec = stream.codec_context
        codec.time_base = Fraction(1, TICKS_PER_S)
        codec.thread_count = max((os.cpu_count() or 2) // 2, 1)  # the rest is left to tracking and clicks
        codec.max_b_frames = 0  # packets come in the order of their times, whatever these are
        codec.color_primaries = codec.color_trc = codec.colorspace = _BT709
        codec.color_range = _LIMITED_RANGE
        return stream

    def _can_encode(self, name: str) -> bool:
        try:
            self._av.Codec(name, "w")
        except self._av.codec.codec.UnknownCodecError:
            return False
        return True

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        height, width = self._stream.height, self._stream.width
        below, right = height - image.shape[0], width - image.shape[1]
        if (below, right) == (0, 0):
            return np.ascontiguousarray(image)
        if below in (0, 1) and right in (0, 1):
            return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    def __enter__(self) -> _Movie:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._sound is not None:
            self._sound.close()
        if raised[0] is not None:
            with contextlib.suppress(
                self._av.FFmpegError, ValueError
            ):  # the first error is the one to report
                self._container.close()


class _Clock:
    """Converts stamps to times of the file that always increase, in ticks from the first frame."""

    def __init__(self, fps: float) -> None:
        self._gap = max(round(TICKS_PER_S / fps), 1)
        self.rate = Fraction(TICKS_PER_S, self._gap)
        self._offset_s: float | None = None
        self._last = -1

    def tick(self, stamp_s: float) -> int:
        if self._offset_s is None:
            self._offset_s = stamp_s
        tick = round((stamp_s - self._offset_s) * TICKS_PER_S)
        if tick <= self._last:  # the clock went back, or stood still
            tick = self._last + self._gap
            self._offset_s = stamp_s - tick / TICKS_PER_S
        self._last = tick
        return tick

    def end(self) -> int:
        """The time at which the last frame ends."""
        return self._last + self._gap
