# SPDX-License-Identifier: Apache-2.0
"""The timeline of a bag's topic: one unique stamp for each image, to match results and ground truth with frames.

Knows headers and the bag's clock; never decodes a pixel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sam2_ros.media.frame_source import NS_PER_S, SourceError, is_increasing
from sam2_ros.media.messages.message_types import COMPRESSED_TYPE

from .frames import choose_topic
from .order import OrderedTopic, RecordedHeader
from .storage import BagReader


@dataclass(frozen=True)
class BagImage:
    """One message of the topic, whether it decodes or not; its index is its position in the timeline.

    Attributes:
        stamp_ns: its stamp in the timeline; unique, and later than that of the image before.
        header_ns: the header's stamp as recorded; 0 = none.
        received_ns: when the bag received it; a player uses this time.
        frame_id: the header's frame_id.
    """

    stamp_ns: int
    header_ns: int
    received_ns: int
    frame_id: str


@dataclass(frozen=True)
class BagTimeline:
    """All images of one topic in the order received, or, if the bag's clock was wrong, in the order taken.

    Attributes:
        notes: one line for each repair of stamps.
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
        """Map the headers' stamps to indices, to match other topics and recordings.

        Raises SourceError, beginning with `what`, if an image has no stamp or two share one.
        """
        given = [image.header_ns for image in self.images]
        if all(given) and len(set(given)) == len(given):
            return {stamp_ns: index for index, stamp_ns in enumerate(given)}
        raise SourceError(
            f"{what} names its image by the header's stamp, but {_odd(given)} of the {len(given)} images on "
            f"{self.topic} of '{self.bag}' have none or share one: give one that is numbered by image instead"
        )


def read_timeline(path: Path, topic: str | None = None) -> BagTimeline:
    """Read the timeline of `topic`, or of the only image topic. Raises SourceError."""
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
    """Return the headers' stamps and notes.

    An image without a stamp gets its time of reception; if the stamps do not increase, all images do.
    """
    headers_ns = [header_ns for header_ns, _, _ in recorded]
    received_ns = [received for _, received, _ in recorded]
    absent = headers_ns.count(0)
    filled_ns = [header or received for header, received in zip(headers_ns, received_ns, strict=True)]
    if is_increasing(filled_ns):
        if not absent:
            return filled_ns, ()
        return filled_ns, (
            f"{absent} of {len(recorded)} images on {topic} have no stamp in their header: the time at which the bag "
            "received them is used instead",
        )
    falls = sum(later <= earlier for earlier, later in pairwise(filled_ns))
    if is_increasing(received_ns):
        return received_ns, (
            f"the stamps of {falls} of {len(recorded)} images on {topic} repeat or go back: the times at which the bag "
            "received them are used for all",
        )
    raise SourceError(
        f"the stamps of {falls} of {len(recorded)} images on {topic} of '{path}' repeat or go back, and so do the "
        "times at which the bag received them, so that images cannot be distinguished: expected increasing stamps"
    )


def _odd(stamps_ns: Sequence[int]) -> int:
    """Count the stamps that are 0 or not unique."""
    counts = Counter(stamps_ns)
    return sum(count for stamp_ns, count in counts.items() if stamp_ns == 0 or count > 1)
