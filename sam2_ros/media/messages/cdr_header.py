# SPDX-License-Identifier: Apache-2.0
"""Reads and changes the std_msgs/Header that a serialized message begins with, without decoding the rest.

Does not know message types: whoever calls says that there is a header. CDR: four bytes of encapsulation (second one
odd: little-endian), int32 seconds, uint32 nanoseconds, uint32 length of frame_id with its final zero, frame_id.
"""

from __future__ import annotations

import struct

from sam2_ros.media.frame_source import NS_PER_S

MAX_STAMP_NS = (1 << 31) * NS_PER_S - 1
"""The last nanosecond that builtin_interfaces/Time holds: January 2038. The first is 0."""
_STAMP_AT, _FRAME_ID_AT = 4, 12


def fits_a_stamp(stamp_ns: int) -> bool:
    """True for what builtin_interfaces/Time can hold and a clock can show."""
    return 0 <= stamp_ns <= MAX_STAMP_NS


def header_stamp_ns(cdr: bytes | memoryview) -> int:
    """The header's stamp in nanoseconds. Raises struct.error for a message that ends before it."""
    seconds, nanoseconds = struct.unpack_from(f"{_order(cdr)}iI", cdr, _STAMP_AT)
    return int(seconds) * NS_PER_S + int(nanoseconds)


def header_frame_id(cdr: bytes | memoryview) -> str:
    """The header's frame_id. Raises struct.error for a message that ends before it."""
    (length,) = struct.unpack_from(f"{_order(cdr)}I", cdr, _FRAME_ID_AT)
    return bytes(cdr[_FRAME_ID_AT + 4 : _FRAME_ID_AT + 4 + max(length - 1, 0)]).decode("utf-8", "replace")


def with_stamp(cdr: bytes | memoryview, stamp_ns: int) -> bytes:
    """The same message under another stamp."""
    changed = bytearray(cdr)
    struct.pack_into(f"{_order(cdr)}iI", changed, _STAMP_AT, *divmod(stamp_ns, NS_PER_S))
    return bytes(changed)


def _order(cdr: bytes | memoryview) -> str:
    if len(cdr) < _STAMP_AT:
        raise struct.error(f"a message of {len(cdr)} bytes has no header")
    return "<" if cdr[1] & 1 else ">"
