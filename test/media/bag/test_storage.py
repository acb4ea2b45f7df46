# SPDX-License-Identifier: Apache-2.0
"""Bags are read as they were written; a damaged recording is read as far as possible, or refused with a remedy."""

from __future__ import annotations

import logging
import shutil
import sqlite3

import numpy as np
import pytest
from compressed_images import write_compressed

from sam2_ros.engine.result import FrameResult, ObjectState
from sam2_ros.media.bag.storage import BagReader, BagWriter, TopicInfo
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.messages.message_types import normalised_type, recorded_objects, standard_types
from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.pixels.image_reader import ImageReader

STAMP_NS = 1_700_000_000_123_456_789


@pytest.fixture(params=["mcap", "sqlite3"])
def storage(request):
    return request.param


def write_images(path, storage, scene_rgb, frames=3):
    with BagWriter(path, storage) as bag:
        for index in range(frames):
            bag.write_image(
                "/camera/image_raw", STAMP_NS + index, "camera", np.roll(scene_rgb, index, axis=1)
            )
    return path


def test_images_read_back(tmp_path, scene_rgb, storage):
    with BagWriter(tmp_path / "bag", storage) as bag:
        bag.write_image("/camera/image_raw", STAMP_NS, "camera", scene_rgb)
        write_compressed(bag, "/camera/image_raw/compressed", STAMP_NS + 1, "camera", scene_rgb)
    with BagReader(tmp_path / "bag") as bag:
        assert bag.topics() == [
            TopicInfo("/camera/image_raw", "sensor_msgs/msg/Image", 1),
            TopicInfo("/camera/image_raw/compressed", "sensor_msgs/msg/CompressedImage", 1),
        ]
        (raw_topic, raw_ns, raw), (_, jpeg_ns, jpeg) = bag.messages()
    assert (raw_topic, raw_ns, jpeg_ns) == ("/camera/image_raw", STAMP_NS, STAMP_NS + 1)
    assert (raw.header.stamp.sec, raw.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert (raw.header.frame_id, raw.encoding, raw.step) == ("camera", "rgb8", 192)
    np.testing.assert_array_equal(ImageReader().message(raw), scene_rgb)
    assert np.median(np.abs(ImageReader().message(jpeg).astype(int) - scene_rgb)) <= 5


def test_objects_read_back_as_they_were_tracked(tmp_path, make_result, storage):
    results = [make_result(index) for index in range(4)]
    with BagWriter(tmp_path / "bag", storage) as bag:
        for result in results:
            bag.write_objects("/objects", STAMP_NS + result.frame_index, "camera", result)
    with BagReader(tmp_path / "bag") as bag:
        messages = [message for _, _, message in bag.messages(["/objects"])]
    assert len(messages) == 4
    for message, result in zip(messages, results, strict=True):
        assert (message.image_height, message.image_width, message.position_frame_id) == (48, 64, "camera")
        for item in message.objects:
            assert item.mask.header == message.header
            assert (item.mask.encoding, item.mask.step) == ("mono8", item.roi.width)
        for read, obj in zip(read_objects(message), result.objects, strict=True):
            assert (read.id, read.label, read.state, read.presence, read.score) == (
                obj.id,
                obj.label,
                obj.state,
                obj.presence,
                obj.score,
            )
            np.testing.assert_array_equal(read.mask, obj.mask)
    cup, box = messages[2].objects
    assert (cup.roi.x_offset, cup.roi.y_offset, cup.roi.width, cup.roi.height) == (10, 10, 12, 12)
    assert (cup.area, cup.class_id, cup.age, cup.has_position) == (135, "kind of cup", 0.0, False)
    assert (cup.centroid.x, cup.centroid.y) == pytest.approx(results[2].objects[0].centroid_xy)
    assert (box.state, box.roi.width, box.area, box.mask.data.size, box.age) == (
        ObjectState.OCCLUDED,
        0,
        0,
        0,
        0.5,
    )


def test_an_empty_frame_is_a_message_too(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_objects("/objects", STAMP_NS, "camera", FrameResult(0, 0.0, 48, 64))
    with BagReader(tmp_path / "bag") as bag:
        ((_, _, message),) = bag.messages()
    assert read_objects(message) == []


def test_cdr_is_the_same_before_and_after(tmp_path, make_result):
    types = standard_types()
    message = recorded_objects(types, STAMP_NS, "camera", make_result(1))
    expected = bytes(types.serialize_cdr(message, "sam2_ros_msgs/msg/TrackedObjectArray"))
    with BagWriter(tmp_path / "one") as bag:
        bag.write_objects("/objects", STAMP_NS, "camera", make_result(1))
    with BagReader(tmp_path / "one") as bag, BagWriter(tmp_path / "two", "sqlite3") as copy:
        for raw in bag.raw_messages():
            assert bytes(raw.cdr) == expected
            copy.write_raw(raw.topic, raw.type, raw.stamp_ns, raw.cdr)
            copy.write_raw("/decoded", raw.type, raw.stamp_ns, bag.decode(raw))
    with BagReader(tmp_path / "two") as bag:
        assert [(raw.topic, bytes(raw.cdr)) for raw in bag.raw_messages()] == [
            ("/objects", expected),
            ("/decoded", expected),
        ]


def test_label_images_keep_labels_above_255(tmp_path):
    labels = np.array([[0, 1, 300], [65534, 2, 0]], np.uint16)
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_label_image("/label_image", STAMP_NS, "camera", labels)
    with BagReader(tmp_path / "bag") as bag:
        ((_, _, message),) = bag.messages()
    assert message.encoding == "mono16"
    np.testing.assert_array_equal(message.data.view("<u2").reshape(2, 3), labels)


def test_reads_from_the_storage_file_itself(tmp_path, scene_rgb, storage):
    folder = write_images(tmp_path / "bag", storage, scene_rgb)
    (file,) = [path for path in folder.iterdir() if path.suffix in (".mcap", ".db3")]
    with BagReader(file) as bag:
        assert [stamp for _, stamp, _ in bag.messages()] == [STAMP_NS, STAMP_NS + 1, STAMP_NS + 2]


@pytest.mark.parametrize("metadata", [None, "", "rosbag2_bagfile_information: {version: 5"])
def test_reads_without_usable_metadata_with_a_warning(tmp_path, scene_rgb, storage, metadata, caplog):
    folder = write_images(tmp_path / "bag", storage, scene_rgb)
    (folder / "metadata.yaml").unlink()
    if metadata is not None:
        (folder / "metadata.yaml").write_text(metadata)
    with caplog.at_level(logging.WARNING), BagReader(folder) as bag:
        assert bag.topics() == [TopicInfo("/camera/image_raw", "sensor_msgs/msg/Image", 3)]
        assert len(list(bag.messages())) == 3
    assert "metadata.yaml" in caplog.text


def test_split_recordings_are_read_in_order_of_time(tmp_path, scene_rgb):
    """Split 10 comes after split 9, with or without metadata.yaml."""
    joined = tmp_path / "joined"
    joined.mkdir()
    for split in (2, 10, 9):
        part = tmp_path / f"part{split}"
        with BagWriter(part) as bag:
            bag.write_image("/image", STAMP_NS + split, "camera", scene_rgb)
        shutil.copy(part / f"part{split}.mcap", joined / f"bag_{split}.mcap")
    with BagReader(joined) as bag:
        assert [stamp - STAMP_NS for _, stamp, _ in bag.messages()] == [2, 9, 10]


def test_old_type_names(tmp_path, scene_rgb):
    """Bags before Eloquent wrote `sensor_msgs/Image`, had no definitions and fewer tables."""
    folder = write_images(tmp_path / "bag", "sqlite3", scene_rgb)
    (folder / "metadata.yaml").unlink()
    with sqlite3.connect(folder / "bag.db3") as database:
        database.execute("UPDATE topics SET type = 'sensor_msgs/Image'")
        for table in ("schema", "metadata", "message_definitions"):
            database.execute(f"DROP TABLE {table}")
    database.close()
    with BagReader(folder) as bag:
        assert bag.topics() == [TopicInfo("/camera/image_raw", "sensor_msgs/msg/Image", 3)]
        _, _, message = next(bag.messages())
    np.testing.assert_array_equal(ImageReader().message(message), scene_rgb)


def test_type_names_are_normalised():
    assert normalised_type("sensor_msgs/Image") == "sensor_msgs/msg/Image"
    assert normalised_type("sensor_msgs/msg/Image") == "sensor_msgs/msg/Image"
    assert normalised_type("std_srvs/srv/Trigger_Event") == "std_srvs/srv/Trigger_Event"


def read_all(path):
    with BagReader(path) as bag:
        return list(bag.messages())


@pytest.mark.parametrize("keep", [0, 7, 500, -40])
def test_a_damaged_recording_names_the_repair(tmp_path, scene_rgb, storage, keep):
    """A file too short to recover anything, or a database without its last page."""
    folder = write_images(tmp_path / "bag", storage, scene_rgb)
    (file,) = [path for path in folder.iterdir() if path.suffix in (".mcap", ".db3")]
    if keep < 0 and storage == "mcap":
        keep = 3000  # within the only chunk
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(SourceError, match=r"cannot be read.*(mcap recover|ros2 bag reindex)") as failure:
        read_all(folder)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("lost", ["ending", "middle", "zeros"])
@pytest.mark.parametrize("metadata", [True, False])
def test_an_mcap_whose_recorder_was_killed_is_read_up_to_there(tmp_path, lost, metadata, caplog):
    """Noise does not compress: with 0.9 MB per image, two images make a chunk."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(6)]
    with BagWriter(tmp_path / "bag") as bag:
        for index, image in enumerate(images):
            bag.write_image("/image", STAMP_NS + index, "camera", image)
    file = tmp_path / "bag" / "bag.mcap"
    whole = file.read_bytes()
    cut = {"ending": whole[:-20], "middle": whole[: int(len(whole) * 0.5)]}
    cut["zeros"] = cut["middle"] + bytes(100_000)
    file.write_bytes(cut[lost])
    if not metadata:
        (tmp_path / "bag" / "metadata.yaml").unlink()
    with caplog.at_level(logging.WARNING):
        messages = read_all(tmp_path / "bag")
    assert len(messages) == 6 if lost == "ending" else 2 <= len(messages) < 6
    for (_, stamp_ns, message), (index, image) in zip(messages, enumerate(images), strict=False):
        assert stamp_ns == STAMP_NS + index
        np.testing.assert_array_equal(ImageReader().message(message), image)
    assert "was cut off: reading the" in caplog.text
    assert file.read_bytes() == cut[lost]


def test_a_missing_storage_file_is_named(tmp_path, scene_rgb):
    folder = write_images(tmp_path / "bag", "mcap", scene_rgb)
    (folder / "bag.mcap").unlink()
    with pytest.raises(SourceError, match=r"bag\.mcap"):
        BagReader(folder)


def test_a_folder_without_a_bag(tmp_path):
    with pytest.raises(SourceError, match=r"neither metadata.yaml nor a .mcap or .db3"):
        BagReader(tmp_path)
    with pytest.raises(SourceError, match="does not exist"):
        BagReader(tmp_path / "nowhere")


def test_a_message_shorter_than_its_type_is_refused(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_raw("/image", "sensor_msgs/msg/Image", STAMP_NS, b"\x00\x01\x00\x00" + bytes(20))
    with (
        BagReader(tmp_path / "bag") as bag,
        pytest.raises(SourceError, match="topic /image: a message of 24 bytes"),
    ):
        list(bag.messages())


def test_unknown_type_without_definition(tmp_path, scene_rgb):
    folder = write_images(tmp_path / "bag", "sqlite3", scene_rgb)
    (folder / "metadata.yaml").unlink()
    with sqlite3.connect(folder / "bag.db3") as database:
        database.execute("UPDATE topics SET type = 'acme_msgs/msg/Thing'")
    database.close()
    with BagReader(folder) as bag, pytest.raises(SourceError, match="acme_msgs/msg/Thing, which neither"):
        list(bag.messages())


def test_an_earlier_bag_is_not_overwritten(tmp_path, scene_rgb):
    folder = write_images(tmp_path / "bag", "mcap", scene_rgb)
    with pytest.raises(FileExistsError, match="exists already; remove it"):
        BagWriter(folder)


def test_wrong_storage_and_wrong_type(tmp_path):
    with pytest.raises(ValueError, match="'zip', expected one of mcap, sqlite3"):
        BagWriter(tmp_path / "bag", "zip")
    with BagWriter(tmp_path / "bag") as bag, pytest.raises(ValueError, match="'acme_msgs/Thing' is neither"):
        bag.write_raw("/thing", "acme_msgs/Thing", STAMP_NS, b"")


def test_what_was_written_before_an_error_can_be_read(tmp_path, scene_rgb):
    with pytest.raises(ImageError), BagWriter(tmp_path / "bag") as bag:  # noqa: PT012
        for image in (scene_rgb, scene_rgb[:, :, 0]):
            bag.write_image("/image", STAMP_NS, "camera", image)
    with BagReader(tmp_path / "bag") as bag:
        assert bag.topics() == [TopicInfo("/image", "sensor_msgs/msg/Image", 1)]


def test_label_images_are_compressed_in_mcap(tmp_path):
    labels = np.zeros((480, 640), np.uint16)
    labels[100:200, 100:300] = 3
    with BagWriter(tmp_path / "bag") as bag:
        for index in range(20):
            bag.write_label_image("/label_image", STAMP_NS + index, "camera", labels)
    assert (tmp_path / "bag" / "bag.mcap").stat().st_size < labels.nbytes


@pytest.mark.parametrize(
    ("bag", "topics"),
    [
        (
            "derived_kite-surf_compressed_mcap",
            [("/camera/image_raw/compressed", "sensor_msgs/msg/CompressedImage", 50)],
        ),
        ("derived_libby_raw320_db3", [("/camera/image_raw", "sensor_msgs/msg/Image", 17)]),
        (
            "real_klintan_sample",
            [
                ("/fix", "sensor_msgs/msg/NavSatFix", 1),
                ("/image", "sensor_msgs/msg/Image", 1),
                ("/image/compressed", "sensor_msgs/msg/CompressedImage", 1),
                ("/imu", "sensor_msgs/msg/Imu", 1),
                ("/text", "std_msgs/msg/String", 1),
            ],
        ),
    ],
)
def test_real_bags(shared_data, bag, topics):
    with BagReader(shared_data / "bags" / bag) as reader:
        assert [(topic.name, topic.type, topic.count) for topic in reader.topics()] == topics
        assert len(list(reader.messages())) == sum(count for _, _, count in topics)
