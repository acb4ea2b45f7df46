"""Frames of one image topic of a rosbag2, raw or compressed.

Knows how a topic is chosen and which stamp counts; storage is `bag.py`'s, pixels are `ros_image.py`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sam2_ros.media.bag import BagReader, RawMessage, TopicInfo
from sam2_ros.media.frame import DEFAULT_FPS, NS_PER_S, Frame, FrameSource, SourceError
from sam2_ros.media.message_types import COMPRESSED_TYPE, IMAGE_TYPE
from sam2_ros.media.ros_image import ImageError, compressed_to_rgb, image_to_rgb

# Enough stamps for a median that a few dropped images do not move, few enough to read at once.
_RATE_SAMPLES = 60

_log = logging.getLogger(__name__)


class BagFrames(FrameSource):
    """Stamps are the header's, or when the bag received the message where a header has none."""

    kind = "bag"

    def __init__(self, path: Path, topic: str | None = None) -> None:
        self.name = str(path)
        self._reader = BagReader(path)
        try:
            chosen = choose_topic(self.name, self._reader.topics(), topic)
            self.topic = chosen.name
            self.length = chosen.count
            stamps_ns, self.frame_id = self._first_headers()
        except BaseException:
            self._reader.close()
            raise
        self.fps = _rate(stamps_ns)

    def _frames(self) -> Iterator[Frame]:
        for index, raw in enumerate(self._messages()):
            try:
                message = self._reader.decode(raw)
                image_rgb = message_to_rgb(message)
            except (ImageError, SourceError) as error:
                self._skip(f"message {index} on {self.topic}", error)
                continue
            yield Frame(index, stamp_ns(message, raw.stamp_ns), image_rgb, message.header.frame_id)

    def _messages(self) -> Iterator[RawMessage]:
        return self._reader.raw_messages([str(self.topic)])

    def _first_headers(self) -> tuple[list[int], str]:
        """Stamps of the first messages, and the first frame_id that is given."""
        stamps_ns, frame_id = [], ""
        for raw in islice(self._messages(), _RATE_SAMPLES):
            try:
                message = self._reader.decode(raw)
            except SourceError:  # reported when the frames are read
                continue
            stamps_ns.append(stamp_ns(message, raw.stamp_ns))
            frame_id = frame_id or message.header.frame_id
        return stamps_ns, frame_id

    def close(self) -> None:
        self._reader.close()


def message_to_rgb(message: Any) -> np.ndarray:
    """An Image or CompressedImage message (rosbags or rclpy) as [H, W, 3] uint8 RGB, or ImageError."""
    if hasattr(message, "encoding"):
        return image_to_rgb(
            message.height, message.width, message.encoding, message.is_bigendian, message.step, message.data
        )
    return compressed_to_rgb(message.data, message.format)


def stamp_ns(message: Any, received_ns: int) -> int:
    """The header's stamp in nanoseconds; `received_ns` where the publisher left it zero."""
    stamp = message.header.stamp
    return (stamp.sec * NS_PER_S + stamp.nanosec) or received_ns


def choose_topic(bag: str, topics: list[TopicInfo], wanted: str | None) -> TopicInfo:
    """The image topic asked for, or the only one with messages. SourceError lists what there is."""
    images = [topic for topic in topics if topic.type in (IMAGE_TYPE, COMPRESSED_TYPE)]
    listed = ", ".join(f"{t.name} ({t.type.rpartition('/')[2]}, {t.count})" for t in images)
    if wanted is None:
        recorded = [topic for topic in images if topic.count]
        if len(recorded) == 1:
            return recorded[0]
        if recorded:
            raise SourceError(
                f"bag '{bag}' has {len(recorded)} image topics: {listed}; choose one with --topic"
            )
        there = f"image topics without messages: {listed}" if images else f"only {_names(topics)}"
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
        raise SourceError(f"topic '{wanted}' of bag '{bag}' is {found.type}, expected images; {there}")
    if not found.count:
        raise SourceError(f"topic '{wanted}' of bag '{bag}' has no messages; its image topics are {listed}")
    return found


def _names(topics: list[TopicInfo]) -> str:
    return ", ".join(f"{topic.name} ({topic.type})" for topic in topics) or "no topics at all"


def _rate(stamps_ns: list[int]) -> float:
    """Frames per second from the median gap, `DEFAULT_FPS` where there is none to measure."""
    gaps_ns = [later - earlier for earlier, later in pairwise(stamps_ns) if later > earlier]
    return NS_PER_S / median(gaps_ns) if gaps_ns else DEFAULT_FPS
