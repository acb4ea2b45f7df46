# SPDX-License-Identifier: Apache-2.0
"""Frames of one image topic of a rosbag2, raw or compressed.

Knows how a topic is chosen and which stamp is used; `storage.py` reads the bag, `ros_image.py` the pixels.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sam2_ros.media.frame_source import NS_PER_S, Frame, FrameSource, SourceError, median_gap_ns
from sam2_ros.media.messages.cdr_header import is_valid_stamp
from sam2_ros.media.messages.message_types import COMPRESSED_TYPE, IMAGE_TYPE
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.pixels.image_reader import ImageReader
from sam2_ros.media.ros_image import is_compressed_depth

from .order import OrderedTopic
from .storage import BagReader, TopicInfo

# Enough stamps for a median that is robust to a few dropped images, few enough to read quickly.
_RATE_SAMPLES = 60
_DOUBTFUL_SPAN, _DOUBTFUL_NS = 2, 10 * NS_PER_S

_log = logging.getLogger(__name__)


class BagFrames(FrameSource):
    """Stamps are the headers'; a message without one gets the time at which the bag received it."""

    kind = "bag"

    def __init__(self, path: Path, topic: str | None = None, images: ImageReader | None = None) -> None:
        self.name = str(path)
        self._images = images or ImageReader()
        self._warned_backwards = False
        self._reader = BagReader(path)
        try:
            chosen = choose_topic(self.name, self._reader, topic)
            self.topic = chosen.name
            self.length = chosen.count
            self._messages = OrderedTopic(self._reader, chosen.name)
            stamps_ns, self.frame_id = self._first_headers()
            self.fps = NS_PER_S / median_gap_ns(stamps_ns)
            if self._is_clock_doubtful():
                self._messages.scan()
                if self._messages.note:
                    _log.warning("bag '%s': %s", self.name, self._messages.note)
        except BaseException:
            self._reader.close()
            raise

    def _frames(self) -> Iterator[Frame]:
        before_ns = 0
        backwards: list[int] = []
        for index, raw in enumerate(self._messages):
            try:
                message = self._reader.decode(raw)
                image_rgb = self._images.message(message)
            except (ImageError, SourceError) as error:
                self._skip(f"message {index} on {self.topic}", error)
                continue
            at_ns = message_stamp_ns(message, raw.stamp_ns)
            if at_ns < before_ns:
                backwards.append(index)
            before_ns = at_ns
            yield Frame(index, at_ns, image_rgb, message.header.frame_id)
        self._warn_backwards(backwards)

    def frames_from(self, first: int) -> Iterator[Frame]:
        for index, raw in enumerate(self._messages):
            if index < first:
                continue
            with contextlib.suppress(ImageError, SourceError):
                message = self._reader.decode(raw)
                stamp_ns = message_stamp_ns(message, raw.stamp_ns)
                yield Frame(index, stamp_ns, self._images.message(message), message.header.frame_id)

    def _warn_backwards(self, messages: list[int]) -> None:
        """Warn, once per source, that images are used in the order received although their stamps go back."""
        if not messages or self._warned_backwards:
            return
        self._warned_backwards = True
        _log.warning(
            "bag '%s': stamps of %d of %s images on %s are earlier than that of the image before, the first in message "
            "%d: all are used in the order they were received",
            self.name,
            len(messages),
            self.length,
            self.topic,
            messages[0],
        )

    def _first_headers(self) -> tuple[list[int], str]:
        """Return the stamps of the first messages, in ns, and the first frame_id that is not empty."""
        stamps_ns, frame_id = [], ""
        for raw in islice(self._messages, _RATE_SAMPLES):
            try:
                message = self._reader.decode(raw)
            except SourceError:  # reported when the frames are read
                continue
            stamps_ns.append(message_stamp_ns(message, raw.stamp_ns))
            frame_id = frame_id or message.header.frame_id
        return stamps_ns, frame_id

    def _is_clock_doubtful(self) -> bool:
        """True if the bag's clock spans far more time than its images take: only then are all their headers read."""
        first_ns, last_ns = self._reader.received_between_ns()
        if not (is_valid_stamp(first_ns) and is_valid_stamp(last_ns)):
            return True
        usual_ns = _DOUBTFUL_SPAN * (self.length or 0) * NS_PER_S / self.fps + _DOUBTFUL_NS
        return last_ns - first_ns > usual_ns

    def close(self) -> None:
        self._reader.close()


def message_stamp_ns(message: Any, received_ns: int) -> int:
    """Return the header's stamp in nanoseconds; `received_ns` if it is zero or invalid."""
    stamp = message.header.stamp
    header_ns = stamp.sec * NS_PER_S + stamp.nanosec
    return header_ns if header_ns and is_valid_stamp(header_ns) else received_ns


def depth_topics(reader: BagReader) -> frozenset[str]:
    """Return the CompressedImage topics with compressedDepth images, found by name or by their first message."""
    return frozenset(
        topic.name
        for topic in reader.topics()
        if topic.type == COMPRESSED_TYPE
        and (
            topic.name.lower().endswith("/compresseddepth")
            or (topic.count and _begins_with_depth(reader, topic))
        )
    )


def _begins_with_depth(reader: BagReader, topic: TopicInfo) -> bool:
    try:
        first = next(reader.raw_messages([topic.name]), None)
        if first is None:
            return False
        message = reader.decode(first)
    except SourceError:  # reported when the frames are read, if the topic is asked for
        return False
    return is_compressed_depth(message.format, message.data)


def choose_topic(bag: str, reader: BagReader, wanted: str | None) -> TopicInfo:
    """Return the wanted image topic, or the only one with messages. Raises SourceError with a list of the topics."""
    topics, depth = reader.topics(), depth_topics(reader)
    images = [
        topic for topic in topics if topic.type in (IMAGE_TYPE, COMPRESSED_TYPE) and topic.name not in depth
    ]
    listed = ", ".join(f"{t.name} ({t.type.rpartition('/')[2]}, {t.count})" for t in images)
    if wanted is None:
        recorded = [topic for topic in images if topic.count]
        if len(recorded) == 1:
            return recorded[0]
        if recorded:
            raise SourceError(
                f"bag '{bag}' has {len(recorded)} image topics: {listed}; choose one with --topic"
            )
        other = f"only {_names(topics)}" if topics else _names(topics)
        there = f"image topics without messages: {listed}" if images else other
        raise SourceError(
            f"bag '{bag}' has no images, {there}; expected a sensor_msgs Image or CompressedImage topic"
        )
    by_name = {topic.name: topic for topic in topics}
    name = "/" + wanted.lstrip("/")
    found = by_name.get(name)
    if found is None and f"{name}/compressed" in by_name:
        _log.info("bag '%s' has no %s: reading %s/compressed", bag, name, name)
        found = by_name[f"{name}/compressed"]
    if found is None:
        there = f"its image topics are {listed}" if images else f"it has {_names(topics)}"
        raise SourceError(f"bag '{bag}' has no topic '{wanted}'; {there}")
    if found not in images:
        there = f"its image topics are {listed}" if images else "it has no image topic"
        kind = "compressed depth" if found.name in depth else found.type
        raise SourceError(f"topic '{wanted}' of bag '{bag}' is {kind}, expected images; {there}")
    if not found.count:
        raise SourceError(f"topic '{wanted}' of bag '{bag}' has no messages; its image topics are {listed}")
    return found


def _names(topics: list[TopicInfo]) -> str:
    return ", ".join(f"{topic.name} ({topic.type})" for topic in topics) or "no topics at all"
