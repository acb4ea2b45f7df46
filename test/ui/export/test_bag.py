# SPDX-License-Identifier: Apache-2.0
"""The export into a bag: read back by this project and by rosbags; a copy keeps every message of the source.

Bags are small and written by the tests.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exported_clips import FRAMES, frames, image_at, masks_at, request
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sam2_ros.eval.recording import read_results
from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.frames import open_source
from sam2_ros.media.results import LABEL_TOPIC, OBJECTS_TOPIC
from sam2_ros.media.ros_image import image_to_labels
from sam2_ros.ui.cancelled import Cancelled
from sam2_ros.ui.export.bag import export_bag

FIRST_NS = 1_700_000_000_123_456_789
TOPIC = "/camera/image"
DELAY_NS = 3_000_000  # from the stamp of an image to its reception


def labels_at(index: int) -> np.ndarray:
    masks = masks_at(index)
    if index == 7:
        return np.zeros((64, 96), np.uint16)
    return np.where(masks[5], 2, np.where(masks[2], 1, 0)).astype(np.uint16)


def recorded(path: Path) -> Path:
    """A bag of the clip with a topic of a type that only the bag defines."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    types.register(get_types_from_msg("int32 gear\n", "robot_msgs/msg/Gear"))
    with Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        images = writer.add_connection(TOPIC, "sensor_msgs/msg/Image", typestore=types)
        gears = writer.add_connection("/gear", "robot_msgs/msg/Gear", typestore=types)
        for index in range(FRAMES):
            stamp_ns = FIRST_NS + index * 40_000_000
            image = image_at(index)
            time = types.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
            header = types.types["std_msgs/msg/Header"](stamp=time, frame_id="camera")
            message = types.types["sensor_msgs/msg/Image"](
                header=header,
                height=64,
                width=96,
                encoding="rgb8",
                is_bigendian=0,
                step=288,
                data=image.ravel(),
            )
            writer.write(images, stamp_ns + DELAY_NS, types.serialize_cdr(message, "sensor_msgs/msg/Image"))
            gear = types.types["robot_msgs/msg/Gear"](gear=index)
            writer.write(gears, stamp_ns + 2 * DELAY_NS, types.serialize_cdr(gear, "robot_msgs/msg/Gear"))
    return path


def check_results(bag: Path, first_ns: int, frame_id: str, delay_ns: int) -> None:
    stamps = {first_ns + index * 40_000_000: index for index in range(FRAMES)}
    with BagReader(bag) as reader:
        seen = []
        for _, received_ns, message in reader.messages([LABEL_TOPIC]):
            stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            index = stamps[stamp_ns]
            fields = (message.height, message.width, message.encoding, message.is_bigendian, message.step)
            np.testing.assert_array_equal(image_to_labels(*fields, message.data), labels_at(index))
            assert (message.header.frame_id, received_ns) == (frame_id, stamp_ns + delay_ns)
            seen.append(index)
    assert seen == list(range(FRAMES))
    results = list(read_results(bag, OBJECTS_TOPIC, stamps))
    assert [result.frame_index for result in results] == list(range(FRAMES))
    for result in results[:7]:
        cup, ball = result.objects
        assert (cup.id, cup.class_id, cup.label, ball.id, ball.label) == ("cup", "tableware", 1, "../ball", 2)
        np.testing.assert_array_equal(cup.mask, masks_at(result.frame_index)[2])
        np.testing.assert_array_equal(ball.mask, masks_at(result.frame_index)[5])
        assert (cup.presence, round(cup.score, 4)) == (3.0, 0.9)
    assert results[7].objects == []


def test_a_new_bag_has_the_masks_at_the_stamps_of_the_frames(tmp_path):
    export = export_bag(
        request(tmp_path, tmp_path / "clip.mp4"), frames(first_ns=FIRST_NS, frame_id="camera")
    )
    check_results(export.folder / "bag", FIRST_NS, "camera", 0)
    assert export.file == export.folder / "my_clip-1-bag.zip"
    assert "1 = cup, 2 = ../ball" in (export.folder / "README.txt").read_text()


def test_a_new_bag_of_a_video_begins_at_zero(tmp_path):
    export = export_bag(request(tmp_path, tmp_path / "clip.mp4"), frames())
    check_results(export.folder / "bag", 0, "", 0)


def test_rosbags_reads_the_bag_with_the_definitions_in_it(tmp_path):
    export = export_bag(request(tmp_path, tmp_path / "clip.mp4"), frames(first_ns=FIRST_NS))
    with Reader(export.folder / "bag") as reader:
        types = get_typestore(Stores.EMPTY)
        for connection in reader.connections:
            types.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        count = 0
        for connection, _, cdr in reader.messages():
            message = types.deserialize_cdr(cdr, connection.msgtype)
            if connection.topic == OBJECTS_TOPIC and count == 0:
                assert [one.id for one in message.objects] == ["cup", "../ball"]
            count += 1
    assert count == 2 * FRAMES


def test_a_copy_has_every_message_of_the_source_and_the_results_after_their_images(tmp_path):
    source = recorded(tmp_path / "bag")
    wanted = request(tmp_path, source, topic=TOPIC, is_bag=True)
    export = export_bag(wanted, frames(first_ns=FIRST_NS, frame_id="camera"), with_source=True)
    assert export.notes == ()
    check_results(export.folder / "bag", FIRST_NS, "camera", DELAY_NS)
    with BagReader(source) as before, BagReader(export.folder / "bag") as after:
        kept = [raw for raw in after.raw_messages() if raw.topic in (TOPIC, "/gear")]
        assert [(raw.topic, raw.type, raw.stamp_ns, bytes(raw.cdr)) for raw in kept] == [
            (raw.topic, raw.type, raw.stamp_ns, bytes(raw.cdr)) for raw in before.raw_messages()
        ]
        gears = [
            message.gear for _, _, message in after.messages(["/gear"])
        ]  # a type that only the bag defines
        assert gears == list(range(FRAMES))
        order = [raw.topic for raw in after.raw_messages()][:4]
    assert order == [TOPIC, OBJECTS_TOPIC, LABEL_TOPIC, "/gear"]
    with open_source(export.folder / "bag", TOPIC) as images:
        assert [frame.stamp_ns for frame in images] == [one.stamp_ns for one in frames(first_ns=FIRST_NS)]


def test_a_copy_keeps_earlier_results_beside_the_new_ones(tmp_path):
    first = export_bag(
        request(tmp_path, recorded(tmp_path / "bag"), topic=TOPIC, is_bag=True),
        frames(first_ns=FIRST_NS),
        True,
    )
    again = request(tmp_path, first.folder / "bag", topic=TOPIC, is_bag=True)
    second = export_bag(again, frames(first_ns=FIRST_NS)[:3], with_source=True)
    assert f"{OBJECTS_TOPIC}_2" in second.notes[0]
    with BagReader(second.folder / "bag") as reader:
        counts = {topic.name: topic.count for topic in reader.topics()}
    assert counts == {
        TOPIC: FRAMES, "/gear": FRAMES, OBJECTS_TOPIC: FRAMES, LABEL_TOPIC: FRAMES,
        f"{OBJECTS_TOPIC}_2": 3, f"{LABEL_TOPIC}_2": 3,
    }  # fmt: skip


def test_results_without_their_image_are_at_their_stamps(tmp_path):
    source = recorded(tmp_path / "bag")
    strangers = frames(first_ns=FIRST_NS + 1)[:2]
    export = export_bag(request(tmp_path, source, topic=TOPIC, is_bag=True), strangers, with_source=True)
    assert "2 images" in export.notes[0]
    with BagReader(export.folder / "bag") as reader:
        assert [raw.stamp_ns for raw in reader.raw_messages([LABEL_TOPIC])] == [
            one.stamp_ns for one in strangers
        ]


@pytest.mark.parametrize("with_source", [False, True])
def test_cancelling_leaves_nothing(tmp_path, with_source):
    asked: list[int] = []

    def is_cancelled() -> bool:
        asked.append(1)
        return len(asked) > 4

    source = recorded(tmp_path / "bag")
    wanted = request(tmp_path, source, topic=TOPIC, is_bag=True, is_cancelled=is_cancelled)
    with pytest.raises(Cancelled):
        export_bag(wanted, frames(first_ns=FIRST_NS), with_source)
    assert list((tmp_path / "exports").iterdir()) == []


def test_a_type_without_a_definition_is_copied_as_it_is(tmp_path):
    source = tmp_path / "old"
    with Writer(source, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        zeros = "RIHS01_" + "0" * 64
        secret = writer.add_connection("/secret", "secret_msgs/msg/Thing", msgdef="", rihs01=zeros)
        writer.write(secret, FIRST_NS, b"\0\1\0\0abcd")
    with BagReader(source) as reader, BagWriter(tmp_path / "copy") as bag:
        bag.declare(reader)
        for raw in reader.raw_messages():
            bag.write_raw(raw.topic, raw.type, raw.stamp_ns, raw.cdr)
    with BagReader(tmp_path / "copy") as reader:
        assert [(raw.type, bytes(raw.cdr)) for raw in reader.raw_messages()] == [
            ("secret_msgs/msg/Thing", b"\0\1\0\0abcd")
        ]
