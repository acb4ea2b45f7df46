# SPDX-License-Identifier: Apache-2.0
"""JPEGs of a source in a few big files, with an index of fixed records: any frame is found in constant time.

Survives a killed process: a record is written after its JPEG. Does not know how frames are decoded.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

_RECORD = np.dtype(
    [
        ("offset", "<u8"),
        ("stamp_ns", "<i8"),
        ("length", "<u4"),
        ("file", "<u4"),
        ("checksum", "<u4"),
        ("missing", "<u4"),
    ]
)
_MOST_BYTES = 256 << 20  # of one pack file


class Entry(NamedTuple):
    """A frame in the pack: where its JPEG is, its stamp, and the checksum of its exact pixels.

    `missing`: the source has no such frame; the JPEG is that of a frame beside it.
    """

    offset: int
    stamp_ns: int
    length: int
    file: int
    checksum: int
    missing: bool


class FramePack:
    """The pack of one source in its own folder. One thread appends; any thread reads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._index = os.open(folder / "index", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._files: dict[int, int] = {}
        self._opening = threading.Lock()
        self._count = self._repaired_count()
        last = self.entry(self._count - 1) if self._count else None
        self._at_file = last.file if last else 0
        self._at = self._end_of(self._at_file)

    @property
    def count(self) -> int:
        """Number of frames in the pack: frame 0 to frame count - 1 are there."""
        return self._count

    def entry(self, index: int) -> Entry:
        """The record of a frame that is there."""
        data = os.pread(self._index, _RECORD.itemsize, index * _RECORD.itemsize)
        offset, stamp_ns, length, file, checksum, missing = np.frombuffer(data, _RECORD)[0].item()
        return Entry(offset, stamp_ns, length, file, checksum, bool(missing))

    def jpeg(self, index: int) -> bytes:
        """The JPEG of a frame that is there."""
        found = self.entry(index)
        return os.pread(self._descriptor(found.file), found.length, found.offset)

    def append(self, jpeg: bytes, stamp_ns: int, checksum: int, missing_before: int = 0) -> None:
        """Add the next frame, after `missing_before` frames that the source does not have."""
        if self._at >= _MOST_BYTES:
            self._at_file, self._at = self._at_file + 1, 0
        descriptor = self._descriptor(self._at_file)
        os.pwrite(descriptor, jpeg, self._at)
        record = (self._at, stamp_ns, len(jpeg), self._at_file, checksum, 0)
        entries = []
        if missing_before:
            before = tuple(self.entry(self._count - 1)) if self._count else record
            entries = [(*before[:5], 1)] * missing_before
        records = np.array([*entries, record], _RECORD)
        os.pwrite(self._index, records.tobytes(), self._count * _RECORD.itemsize)
        self._at += len(jpeg)
        self._count += len(records)

    def append_missing(self, count: int) -> None:
        """Add frames at the end that the source announces and does not have."""
        if count > 0 and self._count:
            records = np.array([(*self.entry(self._count - 1)[:5], 1)] * count, _RECORD)
            os.pwrite(self._index, records.tobytes(), self._count * _RECORD.itemsize)
            self._count += count

    def shown_instead(self, index: int) -> int:
        """The nearest earlier frame that the source has (or later one, at the start); the frame itself if it has it."""
        for at in range(index, -1, -1):
            if not self.entry(at).missing:
                return at
        return next((at for at in range(index, self._count) if not self.entry(at).missing), index)

    def missing_before(self, index: int) -> int:
        """Number of frames before this one that the source does not have."""
        data = os.pread(self._index, index * _RECORD.itemsize, 0)
        return int(np.frombuffer(data, _RECORD)["missing"].sum())

    def clear(self) -> None:
        """Forget all frames: the source has changed."""
        os.ftruncate(self._index, 0)
        for path in self.folder.glob("*.jpegs"):
            path.unlink()
        self._close_files()
        self._count = self._at_file = self._at = 0

    def close(self) -> None:
        """Close the files."""
        self._close_files()
        os.close(self._index)

    def _close_files(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files = {}

    def _descriptor(self, number: int) -> int:
        with self._opening:
            if number not in self._files:
                path = self.folder / f"{number:05d}.jpegs"
                self._files[number] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            return self._files[number]

    def _end_of(self, number: int) -> int:
        return os.fstat(self._descriptor(number)).st_size

    def _repaired_count(self) -> int:
        """Number of whole records whose JPEGs are whole; a power failure may have left others at the end."""
        count = os.fstat(self._index).st_size // _RECORD.itemsize
        while count:
            last = self.entry(count - 1)
            if last.length and last.offset + last.length <= self._end_of(last.file):
                break
            count -= 1
        os.ftruncate(self._index, count * _RECORD.itemsize)
        return count
