# SPDX-License-Identifier: Apache-2.0
"""The timeline of a bag's topic: one stamp for each image, by which results and ground truth find their frame.

Knows headers and the bag's clock; never decodes a pixel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sam2_ros.media.frame_source import NS_PER_S, SourceError, rise
from sam2_ros.media.messages.message_types import COMPRESSED_TYPE

from .frames import choose_topic
from .order import OrderedTopic, RecordedHeader
from .storage import BagReader


@dataclass(frozen=True)
class BagImage:
    """One message of the topic, whether or not it decodes; its index is its place in the timeline.

    Attributes:
        stamp_ns: under which it is known here; unique, and later than that of the image before.
        header_ns: as recorded; 0 = none.
        received_ns: when the bag received it: what a player goes by.
        frame_id: of its header.
    """

    stamp_ns: int
    header_ns: int
    received_ns: int
    frame_id: str


@dataclass(frozen=True)
class BagTimeline:
    """All images of one topic in the order they were received, or taken where the bag's clock was broken.

    Attributes:
        notes: one line each, on stamps that are not the headers'.
    """

    bag: Path
    topic: str
    compressed: bool
    images: tuple[BagImage, ...]
    notes: tuple[str, ...] = ()

    @property
    def stamps_ns(self) -> list[int]:
        return [image.stamp_ns for image in self.images]

    @property
    def stamps_s(self) -> list[float]:
        """Seconds from the first image."""
        first_ns = self.images[0].stamp_ns
        return [(image.stamp_ns - first_ns) / NS_PER_S for image in self.images]

    @property
    def duration_s(self) -> float:
        return self.stamps_s[-1]

    @property
    def index_by_stamp(self) -> dict[int, int]:
        return {image.stamp_ns: index for index, image in enumerate(self.images)}

    def index_by_header(self, what: str) -> dict[int, int]:
        """By the stamps that other topics and recordings name; SourceError, beginning with `what`, if they cannot."""
        given = [image.header_ns for image in self.images]
        if all(given) and len(set(given)) == len(given):
            return {stamp_ns: index for index, stamp_ns in enumerate(given)}
        raise SourceError(
            f"{what} names its image by the header's stamp, but {_odd(given)} of the {len(given)} images on "
            f"{self.topic} of '{self.bag}' have none or share one: give what is numbered by image instead"
        )


def read_timeline(path: Path, topic: str | None = None) -> BagTimeline:
    """The images on `topic`, or on the only image topic there is. Raises SourceError."""
    with BagReader(path) as reader:
        chosen = choose_topic(str(path), reader, topic)
        messages = OrderedTopic(reader, chosen.name)
        recorded = messages.scan()
    if not recorded:
        raise SourceError(
            f"bag '{path}' has no image that can be read on {chosen.name}; check it with `ros2 bag info`"
        )
    stamps_ns, notes = _stamps(path, chosen.name, recorded)
    images = [
        BagImage(stamp_ns, header_ns, received_ns, frame_id)
        for stamp_ns, (header_ns, received_ns, frame_id) in zip(stamps_ns, recorded, strict=True)
    ]
    if messages.note:
        notes = (messages.note, *notes)
    return BagTimeline(path, chosen.name, chosen.type == COMPRESSED_TYPE, tuple(images), notes)


def _stamps(path: Path, topic: str, recorded: Sequence[RecordedHeader]) -> tuple[list[int], tuple[str, ...]]:
    """The headers' stamps; where one is absent, the time of reception; everywhere, where they do not rise."""
    headers_ns = [header_ns for header_ns, _, _ in recorded]
    received_ns = [received for _, received, _ in recorded]
    absent = headers_ns.count(0)
    filled_ns = [header or received for header, received in zip(headers_ns, received_ns, strict=True)]
    if rise(filled_ns):
        if not absent:
            return filled_ns, ()
        return filled_ns, (
            f"{absent} of {len(recorded)} images on {topic} have no stamp in their header: the time at which the bag "
            "received them stands in",
        )
    falls = sum(later <= earlier for earlier, later in pairwise(filled_ns))
    if rise(received_ns):
        return received_ns, (
            f"the stamps of {falls} of {len(recorded)} images on {topic} repeat or go back: the times at which the bag "
            "received them stand in for all",
        )
    raise SourceError(
        f"the stamps of {falls} of {len(recorded)} images on {topic} of '{path}' repeat or go back, and so do the "
        "times at which the bag received them: no answer can be told from the next; expected stamps that rise"
    )


def _odd(stamps_ns: Sequence[int]) -> int:
    """How many are 0 or not alone."""
    counts = Counter(stamps_ns)
    return sum(count for stamp_ns, count in counts.items() if stamp_ns == 0 or count > 1)
