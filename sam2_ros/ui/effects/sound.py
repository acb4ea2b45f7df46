# SPDX-License-Identifier: Apache-2.0
"""Copies the first sound track of a file into a movie: packet by packet, or encoded anew if an mp4 cannot hold it.

Does not know images. Times count from the first image of the file, as `media`'s stamps do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

_COPIED = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "flac", "alac"})
"""Codecs that an mp4 holds. Browsers play most of them in it; other players all."""
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})
_log = logging.getLogger(__name__)


def open_sound(av: ModuleType, source: Path, target: Any, note: Callable[[str], None]) -> SoundCopy | None:
    """Add the sound of `source` to the open movie `target` (a PyAV container); None if it has no readable sound.

    Args:
        av: the module PyAV.
        source: a video or audio file.
        target: a container opened for writing; gets a stream.
        note: called with one line if the sound is left out or encoded anew.
    """
    try:
        container = av.open(str(source))
    except (av.FFmpegError, OSError) as error:
        note(f"sound of '{source.name}' is left out: it cannot be read ({' '.join(str(error).split())})")
        return None
    track = next(iter(container.streams.audio), None)
    if track is None:
        container.close()
        return None
    codec = track.codec_context
    name = getattr(codec.codec, "canonical_name", codec.name)  # not that of one decoder, such as mp3float
    copies = name in _COPIED
    resampler = None
    try:
        if copies:
            stream = target.add_stream_from_template(track)
        else:
            note(f"sound of '{source.name}' is {name}, which an mp4 cannot hold: encoded as AAC")
            rate = codec.sample_rate if codec.sample_rate in _AAC_RATES else max(_AAC_RATES)
            layout = "mono" if codec.channels == 1 else "stereo"
            stream = target.add_stream("aac", rate=rate, layout=layout)
            resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    except (av.FFmpegError, ValueError) as error:
        container.close()
        note(f"sound of '{source.name}' is left out: {' '.join(str(error).split())}")
        return None
    return SoundCopy(container, track, stream, target, resampler)


class SoundCopy:
    """Copies packets up to a time, so that sound and images lie side by side in the file.

    With a resampler the sound is decoded, and encoded with the codec of `stream`.
    """

    def __init__(self, container: Any, track: Any, stream: Any, target: Any, resampler: Any = None) -> None:
        self._container, self._stream, self._target = container, stream, target
        images = next(iter(container.streams.video), None)
        start = Fraction(0)
        if images is not None and images.start_time is not None:
            start = images.start_time * images.time_base
        self._start_s = start
        self._last_tick: int | None = None
        self._packets = self._copied(track) if resampler is None else self._encoded(track, resampler)
        self._next = self._following()

    def copy_until(self, time_s: float | None) -> None:
        """Copy what is heard before this time of the movie; None = all that is left."""
        while self._next is not None:
            packet = self._next
            if time_s is not None and packet.pts is not None and packet.pts * packet.time_base > time_s:
                return
            packet.stream = self._stream
            self._target.mux(packet)
            self._next = self._following()

    def close(self) -> None:
        self._container.close()

    def _following(self) -> Any:
        """The next packet; None at the end, to which damage in the file leads, too."""
        try:
            return next(self._packets, None)
        except (OSError, ValueError) as error:  # PyAV's errors are of these types
            _log.warning("sound of '%s' ends early: %s", self._container.name, " ".join(str(error).split()))
            return None

    def _copied(self, track: Any) -> Iterator[Any]:
        shift = round(self._start_s / track.time_base)
        for packet in self._demuxed(track):
            packet.pts -= shift
            packet.dts = packet.pts
            yield packet

    def _encoded(self, track: Any, resampler: Any) -> Iterator[Any]:
        for packet in self._demuxed(track):
            for frame in packet.decode():
                if frame.pts is not None:
                    frame.pts -= round(self._start_s / frame.time_base)
                for part in resampler.resample(frame):
                    yield from self._stream.encode(part)
        for part in resampler.resample(None):
            yield from self._stream.encode(part)
        yield from self._stream.encode(None)

    def _demuxed(self, track: Any) -> Iterator[Any]:
        """Packets whose times increase: an mp4 takes no others."""
        for packet in self._container.demux(track):
            if packet.pts is None or not packet.size:
                continue
            if self._last_tick is None or packet.pts > self._last_tick:
                self._last_tick = packet.pts
                yield packet
