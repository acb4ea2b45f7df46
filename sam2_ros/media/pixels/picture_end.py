# SPDX-License-Identifier: Apache-2.0
"""Finds the end of a JPEG, PNG or WebP by its markers or chunks: detects truncated data and trailing bytes.

Decodes no pixel. Searches in C (regular expressions over the buffer): 0.4 ms for a JPEG of 1 MB.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

import numpy as np

JPEG, PNG, WEBP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF"
JPEG_END = b"\xff\xd9"
_SOF, _SOS, _EOI = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}, 0xDA, 0xD9
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
# Huffman tables, quantisation tables, restart interval, number of lines, comment, application data.
_BETWEEN_SCANS = frozenset({0xC4, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_ONE_PASS = frozenset({0xC0, 0xC1})  # baseline and extended sequential: pixels come from top to bottom
# A marker may be preceded by any number of 0xFF; 0xFF 0x00 is a byte of data.
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


class PictureEnd(NamedTuple):
    """The end of an image within its bytes.

    Attributes:
        cut: why it is incomplete; empty if its structure is complete.
        size: number of bytes up to its end; all bytes without an end marker.
        marked: True if it has its end marker.
        one_pass: True if its pixels are stored from top to bottom, so that a decoder shows how far they reach.
    """

    cut: str
    size: int
    marked: bool = True
    one_pass: bool = False


def picture_end(encoded: np.ndarray) -> PictureEnd:
    """Find the end of an image, flat contiguous uint8. Formats other than JPEG, PNG and WebP count as complete."""
    view = encoded.data
    start = bytes(view[:12])
    if start.startswith(JPEG):
        return _jpeg_end(view)
    if start.startswith(PNG):
        return _png_end(view)
    if start.startswith(WEBP) and start[8:] == b"WEBP":
        size = 8 + int.from_bytes(start[4:8], "little")
        return PictureEnd("" if size <= len(view) + 1 else f"it announces {size} bytes", min(size, len(view)))
    return PictureEnd("", len(view))


def _jpeg_end(data: memoryview) -> PictureEnd:
    """Skip segments by their length and scans up to the next marker, until the first end marker outside both."""
    size, at, scanned, one_pass = len(data), 2, False, False
    while (found := (_AFTER_SCAN if scanned else _MARKER).search(data, at)) is not None:
        at, code = found.start(), data[found.start() + 1]
        if code == _EOI:
            return PictureEnd("" if scanned else "it ends before its pixels", at + 2, True, one_pass)
        if not scanned and code in _STANDALONE:
            at += 2
            continue
        if scanned and code != _SOS and code not in _BETWEEN_SCANS:
            return PictureEnd(f"its pixels stop at byte {at} of {size}, other data follow", at)
        end = _segment_end(data, at)
        if end is None:
            return PictureEnd(f"it stops within a segment, at byte {at} of {size}", size)
        if code in _SOF:
            one_pass = code in _ONE_PASS
        if code == _SOS:
            if not _is_scan(data, at):
                return PictureEnd(f"its pixels stop at byte {at} of {size}, other data follow", at)
            scanned = True
        elif scanned and data[end : end + 1] != b"\xff":
            return PictureEnd(f"its pixels stop at byte {at} of {size}, other data follow", at)
        at = end
    if scanned:
        return PictureEnd("" if one_pass else "it stops within a scan", size, False, one_pass)
    return PictureEnd("it stops before its pixels", size)


def _segment_end(data: memoryview, at: int) -> int | None:
    """Return the end of the segment whose marker is at `at`; None if the data end before it."""
    if at + 4 > len(data):
        return None
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return end if end <= len(data) else None


def _is_scan(data: memoryview, at: int) -> bool:
    """True if the start of scan at `at` has the length for its 1 to 4 components."""
    length, components = int.from_bytes(data[at + 2 : at + 4], "big"), data[at + 4]
    return 1 <= components <= 4 and length == 6 + 2 * components


def _png_end(data: memoryview) -> PictureEnd:
    """Skip chunk by chunk (length, name, content, checksum) to IEND."""
    size, at = len(data), len(PNG)
    while at + 12 <= size:
        length, name = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if at > size:
            break
        if name == b"IEND":
            return PictureEnd("", at)
    return PictureEnd("it stops before its end chunk", size, False)
