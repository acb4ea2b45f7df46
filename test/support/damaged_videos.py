# SPDX-License-Identifier: Apache-2.0
"""Writes small videos whose frames show their number, and damages them. Knows nothing of the tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH, BITS = 48, 128, 8


def numbered(index: int) -> np.ndarray:
    """[48, 128, 3] BGR: eight bright or dark tiles are the bits of the number."""
    image = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    for bit in range(BITS):
        image[:, 16 * bit : 16 * bit + 16] = 230 if index >> bit & 1 else 30
    return image


def number_of(image: np.ndarray) -> int:
    tiles = (image[HEIGHT // 2, 16 * bit + 8].mean() > 128 for bit in range(BITS))
    return sum(int(bright) << bit for bit, bright in enumerate(tiles))


def write_numbered(path: Path, frames: int, fourcc: str, fps: float = 25.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(numbered(index))
    writer.release()
    return path


def damage(path: Path, frames: Sequence[int]) -> None:
    """Overwrites the whole JPEG of these frames of a Motion JPEG video."""
    content = bytearray(path.read_bytes())
    starts = []
    at = content.find(b"\xff\xd8\xff")
    while at >= 0:
        starts.append(at)
        at = content.find(b"\xff\xd8\xff", at + 1)
    noise = np.random.default_rng(1)
    for frame in frames:
        end = content.find(b"\xff\xd9", starts[frame]) + 2
        content[starts[frame] : end] = noise.integers(0, 250, end - starts[frame], np.uint8).tobytes()
    path.write_bytes(content)


def damage_mp4(path: Path, frames: Sequence[int]) -> None:
    """Overwrites these samples of an MP4 that OpenCV wrote, one after another behind the head of `mdat`."""
    content = bytearray(path.read_bytes())
    sizes_at = content.index(b"stsz") + 4
    (count,) = struct.unpack_from(">I", content, sizes_at + 8)
    sizes = struct.unpack_from(f">{count}I", content, sizes_at + 12)
    (first,) = struct.unpack_from(">I", content, content.index(b"stco") + 12)
    noise = np.random.default_rng(1)
    for frame in frames:
        start = first + sum(sizes[:frame])
        content[start : start + sizes[frame]] = noise.integers(0, 250, sizes[frame], np.uint8).tobytes()
    path.write_bytes(content)


def set_times(path: Path, times_ms: Sequence[int]) -> None:
    """Gives the frames of an MP4 that OpenCV wrote these times; the last one lasts as long as the one before it."""
    durations = [later - earlier for earlier, later in pairwise(times_ms)]
    entries = [(1, duration) for duration in (*durations, durations[-1])]
    content = path.read_bytes()
    table = struct.pack(">II", 0, len(entries)) + b"".join(struct.pack(">II", *entry) for entry in entries)
    content = _replaced(content, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"], table)
    header = content[content.index(b"mdhd") + 4 :][:24]
    total = sum(duration for _, duration in entries)
    header = header[:12] + struct.pack(">II", 1000, total) + header[20:]
    content = _replaced(content, [b"moov", b"trak", b"mdia", b"mdhd"], header)
    path.write_bytes(_with_edit(content, 0, total))


def cut_by_edit_list(path: Path, first: int, frames: int, fps: int = 25) -> None:
    """Cuts the clip to `frames` frames from `first` on, as `ffmpeg -ss -c copy` does: the others stay in the file."""
    content = path.read_bytes()
    (scale,) = struct.unpack_from(">I", content, content.index(b"mdhd") + 16)
    path.write_bytes(_with_edit(content, first * scale // fps, frames * 1000 // fps))


def _with_edit(content: bytes, start: int, shown_ms: int) -> bytes:
    """`start` in units of the track, `shown_ms` in units of the movie, which are milliseconds."""
    (scale,) = struct.unpack_from(">I", content, content.index(b"mvhd") + 16)
    assert scale == 1000
    edit = struct.pack(">IIIiI", 0, 1, shown_ms, start, 1 << 16)
    return _replaced(content, [b"moov", b"trak", b"edts", b"elst"], edit)


def _replaced(content: bytes, path: Sequence[bytes], inside: bytes) -> bytes:
    """The MP4 with new content of the first box of that path; `moov` is behind the frames, so their offsets stay."""
    name, *rest = path
    at = 0
    while content[at + 4 : at + 8] != name:
        at += struct.unpack_from(">I", content, at)[0]
    (size,) = struct.unpack_from(">I", content, at)
    body = _replaced(content[at + 8 : at + size], rest, inside) if rest else inside
    return content[:at] + struct.pack(">I4s", len(body) + 8, name) + body + content[at + size :]
