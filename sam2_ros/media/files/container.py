# SPDX-License-Identifier: Apache-2.0
"""Reads the size and duration that a video file announces: AVI, MP4 and MOV, Matroska and WebM.

Reads headers only, decodes nothing. Another format is not an error: its values are unknown.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MP4_FIRST = (b"ftyp", b"moov", b"mdat", b"moof", b"styp", b"free", b"skip", b"wide", b"pnot", b"uuid")
_MOOV_LIMIT = 64 << 20  # bytes; the index of a day of video has a tenth of it
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


@dataclass(frozen=True)
class Container:
    """Properties of a video file that are known without decoding.

    Attributes:
        form: avi, mp4 (also MOV), fragmented (MP4 without a single index), matroska (also WebM); empty = unknown.
        missing_bytes: how much longer the file should be by the sizes in it; above 0 it is truncated.
        shown_s: seconds of the video track that its edit list shows; None without an edit list.
    """

    form: str = ""
    missing_bytes: int = 0
    shown_s: float | None = None

    @property
    def counts_frames(self) -> bool:
        """True if the file states its number of frames; else it is estimated from duration and rate."""
        return self.form in ("avi", "mp4")


def read_container(path: Path) -> Container:
    """Read the headers; never raises, as an unreadable header counts as unknown."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(12)
            if start[:4] == b"RIFF" and start[8:] == b"AVI ":
                return Container("avi", _missing(_riff_end(file, size), size))
            if start[4:8] in _MP4_FIRST:
                return _mp4(file, size)
            if int.from_bytes(start[:4], "big") == _EBML:
                return Container("matroska", _missing(_segment_end(file), size))
    except (OSError, struct.error, KeyError, IndexError):
        pass
    return Container()


def _missing(end: int, size: int) -> int:
    return max(0, end - size)


def _riff_end(file: BinaryIO, size: int) -> int:
    """Return the end of the last RIFF chunk: long AVI files have several. A killed recorder leaves the length 0."""
    end = 0
    while end + 8 <= size:
        file.seek(end)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or length in (0, 0xFFFFFFFF):
            break
        end += 8 + length
    return end


def _segment_end(file: BinaryIO) -> int:
    """Return the end of the Matroska segment; 0 if its length is unknown (a live recording)."""
    file.seek(4)
    header_bytes = _vint(file)
    if header_bytes is None:
        return 0
    file.seek(header_bytes, os.SEEK_CUR)
    if int.from_bytes(file.read(4), "big") != _SEGMENT:
        return 0
    segment_bytes = _vint(file)
    return 0 if segment_bytes is None else file.tell() + segment_bytes


def _vint(file: BinaryIO) -> int | None:
    """Read an EBML length: the leading zeros of its first byte give the number of following bytes. None = unknown."""
    first = int.from_bytes(file.read(1), "big")
    if not first:
        return None
    more = 8 - first.bit_length()
    value = int.from_bytes(bytes([first & ((1 << (7 - more)) - 1)]) + file.read(more), "big")
    return None if value == (1 << (7 * (more + 1))) - 1 else value


def _mp4(file: BinaryIO, size: int) -> Container:
    end, shown_s, form = 0, None, "mp4"
    while end + 8 <= size:
        file.seek(end)
        length, name = struct.unpack(">I4s", file.read(8))
        header = 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            header = 16
        if length == 0:  # up to the end of the file
            end = size
            break
        if length < header or not name.isalnum():  # bytes after the last box
            break
        if name == b"moof":
            form = "fragmented"
        if name == b"moov" and length <= _MOOV_LIMIT:
            shown_s = _shown_s(file.read(length - header))
        end += length
    return Container(form, _missing(end, size), shown_s)


def _shown_s(moov: bytes) -> float | None:
    """Return the seconds that the edit list of the first video track shows."""
    boxes = dict(_boxes(moov))
    (scale,) = struct.unpack_from(">I", boxes[b"mvhd"], 20 if boxes[b"mvhd"][0] == 1 else 12)
    for name, trak in _boxes(moov):
        if name != b"trak":
            continue
        parts = dict(_boxes(trak))
        handler = dict(_boxes(parts.get(b"mdia", b""))).get(b"hdlr", b"")
        if handler[8:12] != b"vide":
            continue
        edits = dict(_boxes(parts.get(b"edts", b""))).get(b"elst")
        if edits is None or not scale:
            return None
        entry = struct.Struct(">QqI" if edits[0] == 1 else ">IiI")
        (count,) = struct.unpack_from(">I", edits, 4)
        listed = [entry.unpack_from(edits, 8 + i * entry.size) for i in range(min(count, 10_000))]
        # An edit that starts at -1 is a pause before the first frame.
        return sum(duration for duration, start, _ in listed if start >= 0) / scale or None
    return None


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if length < 8:
            return
        yield name, content[at + 8 : at + length]
        at += length
