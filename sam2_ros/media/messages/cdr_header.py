# SPDX-License-Identifier: Apache-2.0
"""Reads and changes the std_msgs/Header at the start of a serialized message, without decoding the rest.

Does not know message types: the caller must know that the message has a header. CDR: four bytes of encapsulation (the
second is odd: little-endian), int32 seconds, uint32 nanoseconds, uint32 length of frame_id with its final zero,
frame_id.
"""

from __future__ import annotations

import struct

from sam2_ros.media.frame_source import NS_PER_S

MAX_STAMP_NS = (1 << 31) * NS_PER_S - 1
"""The last nanosecond that builtin_interfaces/Time holds: January 2038. The first is 0."""
_STAMP_AT, _FRAME_ID_AT = 4, 12


def is_valid_stamp(stamp_ns: int) -> bool:
    """True if builtin_interfaces/Time can hold the stamp, and it is not before 1970."""
    return 0 <= stamp_ns <= MAX_STAMP_NS


def header_stamp_ns(cdr: bytes | memoryview) -> int:
    """Return the header's stamp in nanoseconds. Raises struct.error if the message ends before it."""
    seconds, nanoseconds = struct.unpack_from(f"{_order(cdr)}iI", cdr, _STAMP_AT)
    return int(seconds) * NS_PER_S + int(nanoseconds)


def header_frame_id(cdr: bytes | memoryview) -> str:
    """Return the header's frame_id. Raises struct.error if the message ends before it."""
    (length,) = struct.unpack_from(f"{_order(cdr)}I", cdr, _FRAME_ID_AT)
    return bytes(cdr[_FRAME_ID_AT + 4 : _FRAME_ID_AT + 4 + max(length - 1, 0)]).decode("utf-8", "replace")


def with_stamp(cdr: bytes | memoryview, stamp_ns: int) -> bytes:
    """Return the same message with another stamp."""
    changed = bytearray(cdr)
    struct.pack_into(f"{_order(cdr)}iI", changed, _STAMP_AT, *divmod(stamp_ns, NS_PER_S))
    return bytes(changed)


def _order(cdr: bytes | memoryview) -> str:
    if len(cdr) < _STAMP_AT:
        raise struct.error(f"a message of {len(cdr)} bytes has no header")
    return "<" if cdr[1] & 1 else ">"
