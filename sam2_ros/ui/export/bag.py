# SPDX-License-Identifier: Apache-2.0
"""Exports masks into a rosbag2 under the images' own stamps: label images and TrackedObjectArrays, as the node's.

The bag is new, or a copy of the source with the results beside its images. Does not know where masks come from.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from sam2_ros.media.bag.storage import BagReader, BagWriter, RawMessage
from sam2_ros.media.messages.cdr_header import header_stamp_ns, is_valid_stamp
from sam2_ros.media.messages.message_types import (
    IMAGE_TYPE,
    OBJECTS_TYPE,
    recorded_image,
    recorded_objects,
    standard_types,
)
from sam2_ros.media.results import LABEL_TOPIC, OBJECTS_TOPIC
from sam2_ros.media.ros_image import mono_to_image_fields
from sam2_ros.ui.cancelled import Cancelled

from .exported import Export, ExportedFrame, ExportRequest, frame_result, labels_of, unique_names
from .folder import new_export_folder, size_bytes, zip_folder

MOST_ZIPPED_BYTES = 1 << 31
"""A larger bag is not packed into a zip file, which would take the same space once more."""


def export_bag(request: ExportRequest, frames: Iterable[ExportedFrame], with_source: bool = False) -> Export:
    """Write a rosbag2 folder `bag/` with a label image and a TrackedObjectArray of every frame; zipped if small.

    The header's stamp is the image's. Values of the label images are those of `labels_of`; the objects' messages name
    them. A topic that the source has already gets a number: `/sam2_node/objects_2`.

    Args:
        request: what is exported.
        frames: in order.
        with_source: also copy every message of the source, which must be a bag.

    Raises:
        UserError: the source cannot be copied, or the bag cannot be written.
        Cancelled: the export was cancelled.
    """
    source = request.source
    with new_export_folder(request.exports, source.name) as folder:
        notes: list[str] = []
        with BagWriter(folder / "bag") as bag:
            if with_source and source.is_bag:
                with BagReader(source.path) as reader:
                    _copy_with_results(request, iter(request.watched(frames)), reader, bag, notes)
            else:
                topics = (OBJECTS_TOPIC, LABEL_TOPIC)
                for frame in request.watched(frames):
                    _write(bag, topics, request, frame, frame.stamp_ns)
        named = ", ".join(
            f"{labels_of(request.objects)[number]} = {name}"
            for number, name in unique_names(request.objects).items()
        )
        (folder / "README.txt").write_text(
            f"Values in the label images: 0 = background, {named}\n", encoding="utf-8"
        )
        if size_bytes(folder) > MOST_ZIPPED_BYTES:
            return Export(folder, None, (*notes, f"the bag is in {folder / 'bag'}: too large for a zip file"))
        return Export(folder, zip_folder(folder, f"{folder.name}-bag", request.is_cancelled), tuple(notes))


def _copy_with_results(
    request: ExportRequest,
    frames: Iterator[ExportedFrame],
    reader: BagReader,
    bag: BagWriter,
    notes: list[str],
) -> None:
    """Copy every message; the results of an image follow it, received at the same time.

    Results whose image was not found in order (the bag's clock was wrong) follow at the end, at their own stamps.
    """
    there = {topic.name for topic in reader.topics()}
    objects_topic, label_topic = _free(OBJECTS_TOPIC, there), _free(LABEL_TOPIC, there)
    topics = (objects_topic, label_topic)
    if topics != (OBJECTS_TOPIC, LABEL_TOPIC):
        notes.append(f"the source has results already: the new ones are on {objects_topic} and {label_topic}")
    bag.declare(reader)
    waiting = next(frames, None)
    for raw in reader.raw_messages():
        if request.is_cancelled():
            raise Cancelled(f"export of '{request.source.name}' was cancelled")
        bag.write_raw(raw.topic, raw.type, raw.stamp_ns, raw.cdr)
        if waiting is not None and raw.topic == request.source.topic and _stamp_ns(raw) == waiting.stamp_ns:
            _write(bag, topics, request, waiting, raw.stamp_ns)
            waiting = next(frames, None)
    late = 0
    while waiting is not None:
        _write(bag, topics, request, waiting, waiting.stamp_ns)
        waiting = next(frames, None)
        late += 1
    if late:
        notes.append(
            f"results of {late} images are at their stamps, as the times of the bag are out of order"
        )


def _write(
    bag: BagWriter, topics: tuple[str, str], request: ExportRequest, frame: ExportedFrame, received_ns: int
) -> None:
    result = frame_result(request, frame)
    types = standard_types()
    objects = recorded_objects(types, frame.stamp_ns, frame.frame_id, result)
    labels = recorded_image(types, frame.stamp_ns, frame.frame_id, mono_to_image_fields(result.label_image()))
    bag.write_raw(topics[0], OBJECTS_TYPE, received_ns, objects)
    bag.write_raw(topics[1], IMAGE_TYPE, received_ns, labels)


def _stamp_ns(raw: RawMessage) -> int:
    """The stamp that `media` gives the image of this message."""
    try:
        stamp_ns = header_stamp_ns(raw.cdr)
    except struct.error:
        return raw.stamp_ns
    return stamp_ns if stamp_ns and is_valid_stamp(stamp_ns) else raw.stamp_ns


def _free(topic: str, there: set[str]) -> str:
    number, name = 1, topic
    while name in there:
        number += 1
        name = f"{topic}_{number}"
    return name
