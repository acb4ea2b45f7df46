# SPDX-License-Identifier: Apache-2.0
"""The messages of one image topic in the order in which the images were taken, even if the bag's clock was wrong.

Knows headers and the bag's clock; never decodes a pixel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.messages.cdr_header import header_frame_id, header_stamp_ns, is_valid_stamp

from .repair_stamps import RepairedStamps, repair_stamps
from .storage import BagReader, RawMessage

_MAX_MISPLACED = 256  # at most so many images are held in memory


class RecordedHeader(NamedTuple):
    """header_ns 0 = no stamp; a message that ends within its header counts as one without a stamp."""

    header_ns: int
    received_ns: int
    frame_id: str


class OrderedTopic:
    """One topic of an open bag; iterating twice reads the bag twice.

    Attributes:
        note: one line if the bag's clock was wrong, else empty.
    """

    def __init__(self, reader: BagReader, topic: str) -> None:
        self._reader = reader
        self._topic = topic
        self._clock: RepairedStamps | None = None
        self.note = ""

    def scan(self) -> list[RecordedHeader]:
        """Read every header and compare it with the bag's clock; returns the repaired headers.

        Every later pass is repaired, too. Raises SourceError if too many images are out of order to hold in memory.
        """
        recorded = [_recorded(raw) for raw in self._reader.raw_messages([self._topic])]
        clock = repair_stamps(
            self._topic, [one.header_ns for one in recorded], [one.received_ns for one in recorded]
        )
        if not clock.odd:
            return recorded
        if clock.is_out_of_order and len(clock.odd) > _MAX_MISPLACED:
            raise SourceError(
                f"{len(clock.odd)} of {len(recorded)} images on {self._topic} of '{self._reader.path}' were received "
                f"at impossible times and are out of order, at most {_MAX_MISPLACED} expected: record the bag "
                "again by the stamps of its images"
            )
        self._clock, self.note = clock, clock.note
        return [recorded[index]._replace(received_ns=clock.received_ns[index]) for index in clock.order]

    def __iter__(self) -> Iterator[RawMessage]:
        clock = self._clock
        messages = self._reader.raw_messages([self._topic])
        if clock is None:
            yield from messages
            return
        if not clock.is_out_of_order:
            for raw, received_ns in zip(messages, clock.received_ns, strict=True):
                yield raw._replace(stamp_ns=received_ns)
            return
        # Only the misplaced messages are held in memory.
        odd = {index: raw for index, raw in enumerate(messages) if index in clock.odd}
        numbered = enumerate(self._reader.raw_messages([self._topic]))
        in_place = (raw for index, raw in numbered if index not in clock.odd)
        for index in clock.order:
            raw = odd[index] if index in clock.odd else next(in_place)
            yield raw._replace(stamp_ns=clock.received_ns[index])


def _recorded(raw: RawMessage) -> RecordedHeader:
    try:
        header_ns = header_stamp_ns(raw.cdr)
        frame_id = header_frame_id(raw.cdr)
        return RecordedHeader(header_ns if is_valid_stamp(header_ns) else 0, raw.stamp_ns, frame_id)
    except struct.error:
        return RecordedHeader(0, raw.stamp_ns, "")
