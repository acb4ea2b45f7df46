# SPDX-License-Identifier: Apache-2.0
"""Plays the images of a bag to a live node, at the bag's rate, and records what the node publishes.

Does not know how the node is started and fed: that is `player.LivePlayer`.
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

PROMPT_LEAD_S = 0.5  # prompts go out this long before their image, so that they are there first
DRAIN_TIMEOUT_S = 30.0  # after the last image

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveReplay:
    """What a live replay saw. Times are seconds of this process's steady clock, keyed by image stamp."""

    sent_s: Mapping[int, float]  # every image published: stamp_ns -> when
    objects_s: Mapping[int, float]  # every ~/objects message: stamp_ns of its image -> when it arrived
    diagnostics: Mapping[str, str]  # the node's last diagnostics, key -> value
    node_exit_status: int | None
    broken: int = 0  # messages of the bag that are no images: not sent

    @property
    def latency_ms(self) -> dict[int, float]:
        """Image published to objects received, by stamp_ns: the node, DDS both ways, this recorder."""
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
    """Start the node, play `camera` to it, record into `tracked_bag`, end the node.

    Images go out as they were recorded, raw or compressed, under the stamps of the timeline; `rate` 2 is twice as fast.
    `prompts` are keyed by the stamp (ns) of the image they were made on. `on_progress` is told the step and the number
    of images played. The node's output goes to `log_path`. Raises UserError; what was heard until then is in
    `tracked_bag`.
    """
    unknown = sorted(set(prompts) - set(camera.stamps_ns))
    if unknown:
        raise UserError(
            f"prompts stamped {unknown} belong to no image of {camera.bag}: use the stamp of an image in the bag",
            status=1,
        )
    bag_images = _BagImages(camera, rate)
    # In memory, appended by the graph's thread only: writing a bag takes time from the camera.
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
        raise UserError(f"no message on {camera.topic} of {camera.bag} is a whole image", status=1)
    player.drain(DRAIN_TIMEOUT_S)
    if not player.answered_s:
        raise UserError(
            f"{len(player.sent_s)} images were played but nothing came on {player.objects_topic}; "
            f"{player.process.last_words()}",
            status=1,
        )


class _BagImages:
    """The messages of a bag's topic as images of a camera; those that do not decode are left out and counted."""

    def __init__(self, camera: BagTimeline, rate: float) -> None:
        self._camera = camera
        first_ns = camera.images[0].received_ns
        self._due_s = [(image.received_ns - first_ns) / NS_PER_S / rate for image in camera.images]
        self.broken = 0

    def timed(self, prompts: Mapping[int, Sequence[Prompt]]) -> list[TimedPrompts]:
        """Each `PROMPT_LEAD_S` before its image: topics overtake each other, and a camera does not wait.

        The lead delays no image but the first.
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
                    # A camera sends whole messages; rclpy gives up on one that does not deserialize.
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
    """Those about images that were sent, in order of arrival, each at its image's stamp as in the camera's bag."""
    types = {player.objects_topic: OBJECTS_TYPE, player.label_topic: IMAGE_TYPE}
    for topic, stamp_ns, cdr in received:
        if topic in types and stamp_ns in player.sent_s:
            writer.write_raw(topic, types[topic], stamp_ns, cdr)
