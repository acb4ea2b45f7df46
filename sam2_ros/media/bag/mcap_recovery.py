# SPDX-License-Identifier: Apache-2.0
"""Recovers an MCAP file whose recorder was killed: its complete records, then the missing ending.

Knows the outer layout of MCAP records, not topics or messages; never changes the file.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import BinaryIO

MAGIC = b"\x89MCAP0\r\n"
_MESSAGE, _CHUNK, _DATA_END, _FOOTER = 0x05, 0x06, 0x0F, 0x02
# A footer without a summary: readers then scan the data section for channels and messages.
_ENDING = bytes([_FOOTER]) + struct.pack("<QQQI", 20, 0, 0, 0) + MAGIC


class RecoveredMcap:
    """The complete records of a truncated file, with an ending; has the methods of `Path` that rosbags calls."""

    def __init__(self, path: Path, whole_bytes: int) -> None:
        self.path = path
        self.whole_bytes = whole_bytes
        self.suffix = path.suffix

    def exists(self) -> bool:
        return self.path.exists()

    def is_dir(self) -> bool:
        return False

    def open(self, mode: str = "rb") -> BinaryIO:
        return io.BufferedReader(_Ended(self.path, self.whole_bytes))

    def __str__(self) -> str:
        return str(self.path)


def recover_mcap(path: Path) -> RecoveredMcap | None:
    """Find the readable part of a file without an ending; None if the file has an ending or no messages."""
    size = path.stat().st_size
    position, has_messages = len(MAGIC), False
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return None
        while len(start := file.read(9)) == 9:
            kind, length = struct.unpack("<BQ", start)
            end = position + 9 + length
            # A file system that lost the end may have written zeros.
            if kind in (0, _DATA_END, _FOOTER) or end > size:
                break
            has_messages = has_messages or kind in (_MESSAGE, _CHUNK)
            file.seek(length, io.SEEK_CUR)
            position = end
        file.seek(max(0, size - len(MAGIC)))
        ended = file.read() == MAGIC
    return None if ended or not has_messages else RecoveredMcap(path, position)


class _Ended(io.RawIOBase):
    """Reads the first `whole_bytes` of a file, then the ending."""

    def __init__(self, path: Path, whole_bytes: int) -> None:
        self._file = path.open("rb")
        self._whole_bytes = whole_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._whole_bytes + len(_ENDING)}
        self._position = max(0, base[whence] + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = len(buffer)
        if self._position < self._whole_bytes:
            self._file.seek(self._position)
            data = self._file.read(min(wanted, self._whole_bytes - self._position))
        else:
            begin = self._position - self._whole_bytes
            data = _ENDING[begin : begin + wanted]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
