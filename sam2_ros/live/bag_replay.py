# SPDX-License-Identifier: Apache-2.0
"""Plays the images of a bag to a live node, at the bag's rate, and records the node's outputs.

Does not know how the node is started and fed: see `player.LivePlayer`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2_ros.engine import Prompt
from sam2_ros.errors import UserError
from sam2_ros.media.bag.order import OrderedTopic
from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.bag.timeline import BagTimeline
from sam2_ros.media.frame_source import NS_PER_S, SourceError
from sam2_ros.media.messages.cdr_header import with_stamp
from sam2_ros.media.messages.message_types import IMAGE_TYPE, OBJECTS_TYPE

from .player import COMPRESSED_SUFFIX, CameraImage, LivePlayer, LivePlayerConfig, TimedPrompts

PROMPT_LEAD_S = 0.5  # prompts are sent this long before their image, so that they arrive first
DRAIN_TIMEOUT_S = 30.0  # after the last image

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveReplay:
    """Result of a live replay. Times are seconds of this process's steady clock, keyed by image stamp."""

    sent_s: Mapping[int, float]  # stamp_ns of every image -> time of publishing
    objects_s: Mapping[int, float]  # stamp_ns of the image of every ~/objects message -> time of arrival
    diagnostics: Mapping[str, str]  # the node's last diagnostics, key -> value
    node_exit_status: int | None
    broken: int = 0  # messages of the bag that do not decode as images; not sent

    @property
    def latency_ms(self) -> dict[int, float]:
        """stamp_ns -> ms from publishing an image to receiving its objects: the node, DDS both ways, this recorder."""
        return {
            stamp_ns: (arrived_s - self.sent_s[stamp_ns]) * 1e3
            for stamp_ns, arrived_s in self.objects_s.items()
            if stamp_ns in self.sent_s
        }


def replay_live(
    camera: BagTimeline,
    prompts: Mapping[int, Sequence[Prompt]],
    tracked_bag: Path,
    log_path: Path,
    config: LivePlayerConfig,
    rate: float = 1.0,
    on_progress: Callable[[str, int], None] = lambda step, images: None,
) -> LiveReplay:
    """Start the node, play `camera` to it, record its outputs into `tracked_bag`, end the node.

    Args:
        camera: images are sent as recorded, raw or compressed, with the stamps of this timeline.
        prompts: stamp (ns) of an image -> the prompts made on it.
        log_path: file for the node's output.
        rate: speed factor; 2 is twice as fast as recorded.
        on_progress: called with the step and the number of images played.

    Raises:
        UserError: `tracked_bag` then holds the outputs received so far.
    """
    unknown = sorted(set(prompts) - set(camera.stamps_ns))
    if unknown:
        raise UserError(
            f"prompts have the stamps {unknown}, which no image of {camera.bag} has: use the stamp of an image",
            status=1,
        )
    bag_images = _BagImages(camera, rate)
    # Kept in memory, appended by the graph's thread only: writing the bag meanwhile would delay images.
    received: list[tuple[str, int, bytes]] = []
    topic = camera.topic.removesuffix(COMPRESSED_SUFFIX) if camera.compressed else camera.topic
    player = LivePlayer(
        config,
        topic,
        log_path,
        lambda topic, stamp_ns, cdr, _: received.append((topic, stamp_ns, cdr)),
        camera.compressed,
    )
    with BagWriter(tracked_bag, storage="mcap") as writer, player:
        try:
            on_progress("waiting for the node", 0)
            player.wait_until_ready()
            player.play(
                bag_images,
                PROMPT_LEAD_S,
                bag_images.timed(prompts),
                lambda image: on_progress("playing", len(player.sent_s)),
            )
            on_progress("waiting for the last result", len(player.sent_s))
            _drain(player, camera)
        finally:
            _write(list(received), writer, player)
    return LiveReplay(
        player.sent_s, player.answered_s, player.diagnostics, player.exit_status, bag_images.broken
    )


def _drain(player: LivePlayer, camera: BagTimeline) -> None:
    if not player.sent_s:
        raise UserError(f"no message on {camera.topic} of {camera.bag} is a complete image", status=1)
    player.drain(DRAIN_TIMEOUT_S)
    if not player.answered_s:
        raise UserError(
            f"{len(player.sent_s)} images were played, but no message came on {player.objects_topic}; "
            f"{player.process.last_words()}",
            status=1,
        )


class _BagImages:
    """The messages of a bag's topic as camera images; messages that do not decode are skipped and counted."""

    def __init__(self, camera: BagTimeline, rate: float) -> None:
        self._camera = camera
        first_ns = camera.images[0].received_ns
        self._due_s = [(image.received_ns - first_ns) / NS_PER_S / rate for image in camera.images]
        self.broken = 0

    def timed(self, prompts: Mapping[int, Sequence[Prompt]]) -> list[TimedPrompts]:
        """Prompts, each due `PROMPT_LEAD_S` before its image, because messages of two topics may arrive in any order.

        The lead delays the first image only.
        """
        return [
            TimedPrompts(due_s - PROMPT_LEAD_S, image.stamp_ns, image.frame_id, prompts[image.stamp_ns])
            for due_s, image in zip(self._due_s, self._camera.images, strict=True)
            if image.stamp_ns in prompts
        ]

    def __iter__(self) -> Iterator[CameraImage]:
        with BagReader(self._camera.bag) as reader:
            messages = OrderedTopic(reader, self._camera.topic)
            messages.scan()
            for due_s, image, raw in zip(self._due_s, self._camera.images, messages, strict=True):
                try:
                    reader.decode(raw)
                except SourceError as error:
                    # A camera sends complete messages; rclpy raises on one that does not deserialize.
                    _log.warning("not played: %s", error)
                    self.broken += 1
                    continue
                cdr = (
                    bytes(raw.cdr)
                    if image.stamp_ns == image.header_ns
                    else with_stamp(raw.cdr, image.stamp_ns)
                )
                yield CameraImage(due_s, image.stamp_ns, cdr)


def _write(received: Sequence[tuple[str, int, bytes]], writer: BagWriter, player: LivePlayer) -> None:
    """Write the messages about sent images in order of arrival, each at its image's stamp, as in the camera's bag."""
    types = {player.objects_topic: OBJECTS_TYPE, player.label_topic: IMAGE_TYPE}
    for topic, stamp_ns, cdr in received:
        if topic in types and stamp_ns in player.sent_s:
            writer.write_raw(topic, types[topic], stamp_ns, cdr)
