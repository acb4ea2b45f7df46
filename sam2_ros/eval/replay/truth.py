# SPDX-License-Identifier: Apache-2.0
"""Reads the ground truth of a bag's images: label images from a folder or a topic, and which value is which object.

Knows stamps and files; does not know the tracker's results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sam2_ros.datasets.sequence import VOID, FrameTruth, PaletteTruth
from sam2_ros.media.bag.storage import BagReader, TopicInfo, is_bag
from sam2_ros.media.bag.timeline import BagTimeline
from sam2_ros.media.files.image_folder import image_files
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.messages.cdr_header import header_stamp_ns
from sam2_ros.media.messages.message_types import IMAGE_TYPE
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.ros_image import LABEL_ENCODINGS, image_to_labels

from .replay_config import ReplayConfig

STAMP_DIGITS = 13
"""A file name with at least this many digits is a stamp in nanoseconds, a shorter one the number of an image."""


@dataclass(frozen=True)
class ReplayTruth:
    """The ground truth of some or all images of a bag, by object id.

    Attributes:
        truth: label images by index of the image; the names are their values.
        values: object -> its name in `truth`; objects without one are not scored.
        source, topic: where it was read.
        notes: one line for each thing in it that is not used.
    """

    truth: PaletteTruth | _LabelTopicTruth
    values: Mapping[str, str]
    source: str
    topic: str | None = None
    notes: tuple[str, ...] = ()

    def at(self, index: int) -> FrameTruth | None:
        """The true masks of an image, by object id or `value N`; None if the image has no truth."""
        if index not in self.truth.indices:
            return None
        found = self.truth.at(index)
        ids = {name: object_id for object_id, name in self.values.items()}
        return FrameTruth(
            {ids.get(name, f"value {name}"): mask for name, mask in found.masks.items()},
            found.hw,
            found.void_hw,
        )


def find_truth(config: ReplayConfig, timeline: BagTimeline, image_hw: tuple[int, int]) -> ReplayTruth | None:
    """Reads and checks `config.truth`; None if no truth is given.

    Raises SourceError, in one line, for truth that fits no image, no object, or not the images' size.
    """
    if config.truth is None:
        return None
    source, topic = str(config.truth), None
    truth: PaletteTruth | _LabelTopicTruth
    if is_bag(config.truth):
        truth, topic = _truth_of_bag(config.truth, config.truth_topic, timeline)
    elif config.truth.is_dir():
        truth = PaletteTruth(_files_by_image(config.truth, timeline))
    else:
        raise SourceError(
            f"--truth {source} is neither a folder of label images nor a rosbag2: expected one of them"
        )
    found: dict[str, int] = {}
    for index in truth.indices:
        known = truth.at(index)
        if known.hw != image_hw:
            raise SourceError(
                f"the truth of image {index} in '{source}' is {known.hw[1]} x {known.hw[0]} px, the size of the "
                f"images, {image_hw[1]} x {image_hw[0]}, expected: resize it (nearest neighbour)"
            )
        for name in known.masks:
            found[name] = found.get(name, 0) + 1
    values = _values(config)
    missing = [object_id for object_id, name in values.items() if name not in found]
    if len(missing) == len(values):
        there = ", ".join(sorted(found, key=int)) or "only the background"
        wanted = ", ".join(f"{name} ({object_id})" for object_id, name in values.items())
        raise SourceError(
            f"truth '{source}' fits no prompted object: its values are {there}, expected {wanted}: "
            "assign them with --truth-ids VALUE=ID"
        )
    notes = [
        f"{object_id} is in no truth image: value {values[object_id]} never occurs in '{source}'"
        for object_id in missing
    ]
    if unused := sorted(set(found) - set(values.values()), key=int):
        notes.append(
            f"truth values {', '.join(unused)} belong to no prompted object: used only to find identity switches"
        )
    return ReplayTruth(truth, values, source, topic, tuple(notes))


def _values(config: ReplayConfig) -> dict[str, str]:
    if config.truth_ids:
        return {object_id: str(value) for object_id, value in config.truth_ids.items()}
    return {object_id: str(number) for number, object_id in enumerate(config.object_ids, start=1)}


def _files_by_image(folder: Path, timeline: BagTimeline) -> dict[int, Path]:
    """Index of an image -> its file: named by stamp; or one per image, in order; or named by the image's number."""
    files = image_files(folder)
    if not files:
        raise SourceError(
            f"--truth {folder} holds no image: PNG files expected, value = object, 0 = background"
        )
    numbered = all(file.stem.isdecimal() for file in files)
    if numbered and all(len(file.stem) >= STAMP_DIGITS for file in files):
        index_of = timeline.index_by_stamp
        expected = f"the stamp of one in nanoseconds, such as {timeline.images[0].stamp_ns}"
    elif len(files) == len(timeline.images):
        return dict(enumerate(files))
    elif numbered:
        index_of = {index: index for index in range(len(timeline.images))}
        expected = f"a number from 0 to {len(timeline.images) - 1}"
    else:
        raise SourceError(
            f"--truth {folder} holds {len(files)} images for {len(timeline.images)} images in the bag: as many "
            "expected, or files named by the image's number (00007.png) or by its stamp in nanoseconds"
        )
    if stray := [file.name for file in files if int(file.stem) not in index_of]:
        raise SourceError(
            f"truth '{stray[0]}' in {folder} ({len(stray)} of {len(files)}) belongs to no image of the bag: "
            f"{expected} expected"
        )
    return {index_of[int(file.stem)]: file for file in files}


class _LabelTopicTruth:
    """Label images of a topic, stored as PNG in memory: they are read twice, and a bag has no random access."""

    def __init__(self, packed: Mapping[int, np.ndarray]) -> None:
        self._packed = dict(sorted(packed.items()))
        self._of_255 = self._is_binary()

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(self._packed)

    def at(self, index: int) -> FrameTruth:
        values = self._values(index)
        hw = (values.shape[0], values.shape[1])
        if self._of_255:
            return FrameTruth({"1": values > 0} if values.any() else {}, hw)
        return FrameTruth({str(value): values == value for value in np.unique(values) if value}, hw)

    def _is_binary(self) -> bool:
        """True if 255 is the only value, so that it is the object (mono8 masks) and not void, as in files."""
        for index in self._packed:
            found = set(np.unique(self._values(index)).tolist()) - {0}
            if found:
                return found == {VOID}
        return False

    def _values(self, index: int) -> np.ndarray:
        return np.asarray(cv2.imdecode(self._packed[index], cv2.IMREAD_UNCHANGED))


def _truth_of_bag(path: Path, wanted: str | None, timeline: BagTimeline) -> tuple[_LabelTopicTruth, str]:
    index_of = timeline.index_by_header(f"the truth in bag '{path}'")
    packed: dict[int, np.ndarray] = {}
    with BagReader(path) as reader:
        topic = wanted or _label_topic(reader, path, timeline)
        if topic not in {info.name for info in reader.topics() if info.type == IMAGE_TYPE and info.count}:
            raise SourceError(
                f"bag '{path}' has no label images on '{topic}'; it has {_listed(reader.topics())}"
            )
        count = 0
        for raw in reader.raw_messages([topic]):
            count += 1
            index = index_of.get(header_stamp_ns(raw.cdr))
            if index is not None:
                packed[index] = _packed(reader.decode(raw), topic)
    if not packed:
        raise SourceError(
            f"none of the {count} label images on {topic} of '{path}' has the stamp of an image on {timeline.topic}: "
            "expected label images with the header stamp of their camera image"
        )
    return _LabelTopicTruth(packed), topic


def _label_topic(reader: BagReader, path: Path, timeline: BagTimeline) -> str:
    """The only topic besides the camera's whose first image has an encoding of label images."""
    own = timeline.topic if path.resolve() == timeline.bag.resolve() else None
    candidates = []
    for info in reader.topics():
        if info.type == IMAGE_TYPE and info.count and info.name != own:
            first = reader.decode(next(reader.raw_messages([info.name])))
            if first.encoding.strip().lower() in LABEL_ENCODINGS:
                candidates.append(info)
    if len(candidates) != 1:
        there = _listed(candidates) if candidates else f"only {_listed(reader.topics())}"
        raise SourceError(
            f"bag '{path}' has {len(candidates)} topics of label images ({there}): choose one with --truth-topic"
        )
    return candidates[0].name


def _packed(message: Any, topic: str) -> np.ndarray:
    try:
        labels = image_to_labels(
            message.height, message.width, message.encoding, message.is_bigendian, message.step, message.data
        )
    except ImageError as error:
        raise SourceError(f"truth on {topic}: {error}") from error
    if labels.min() < 0 or labels.max() > np.iinfo(np.uint16).max:
        raise SourceError(
            f"truth on {topic} has values from {labels.min()} to {labels.max()}: 0..65535 expected"
        )
    return np.asarray(cv2.imencode(".png", labels.astype(np.uint16))[1])


def _listed(topics: Sequence[TopicInfo]) -> str:
    return (
        ", ".join(f"{topic.name} ({topic.type.rpartition('/')[2]}, {topic.count})" for topic in topics)
        or "none"
    )
