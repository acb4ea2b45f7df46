# SPDX-License-Identifier: Apache-2.0
"""Bags from killed recorders and other tools: compressed without metadata, with wrong metadata, with depth."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from compressed_images import compressed_message
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.frames import open_source
from sam2_ros.media.messages.message_types import (
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    recorded_image,
    standard_types,
)
from sam2_ros.media.ros_image import ImageFields, rgb_to_image_fields

STAMP_NS = 1_700_000_000_000_000_000
TYPES = standard_types()


def shade(index: int) -> np.ndarray:
    return np.full((40, 60, 3), 10 * index % 256, np.uint8)


def noisy(index: int) -> np.ndarray:
    """An image so large that only a few fit into one chunk of a file, compressed or not."""
    image = np.random.default_rng(index).integers(0, 256, (300, 400, 3), np.uint8)
    image[0, 0] = shade(index)[0, 0]
    return image


def write_compressed(
    path: Path, mode: CompressionMode, storage: StoragePlugin, frames: int = 4, picture: Any = shade
) -> Path:
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer as bag:
        connection = bag.add_connection("/cam", IMAGE_TYPE, typestore=TYPES)
        for index in range(frames):
            message = recorded_image(TYPES, STAMP_NS + index, "cam", rgb_to_image_fields(picture(index)))
            bag.write(connection, STAMP_NS + index, TYPES.serialize_cdr(message, IMAGE_TYPE))
    (path / "metadata.yaml").unlink()
    return path


def shades(path: Path) -> list[int]:
    with open_source(path) as source:
        return [int(frame.image[0, 0, 0]) for frame in source]


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_a_compressed_bag_without_metadata_is_read_with_a_warning(tmp_path, caplog, mode, storage):
    path = write_compressed(tmp_path / "bag", mode, storage)
    (file,) = path.iterdir()
    assert (file.suffix == ".zstd") == (mode == CompressionMode.FILE)
    with caplog.at_level(logging.WARNING):
        assert shades(path) == [0, 10, 20, 30]
    assert "compressed with zstd" in caplog.text
    assert shades(file) == [0, 10, 20, 30]
    assert [path.name for path in path.iterdir()] == [file.name]  # nothing is left beside it


def test_the_last_file_of_a_killed_recorder_is_not_compressed_yet(tmp_path):
    path = write_compressed(tmp_path / "bag_0", CompressionMode.FILE, StoragePlugin.MCAP)
    later = write_compressed(tmp_path / "later", CompressionMode.FILE, StoragePlugin.MCAP)
    with BagWriter(tmp_path / "bag_1") as bag:
        bag.write_image("/cam", STAMP_NS + 10, "cam", shade(9))
    shutil.move(tmp_path / "bag_1" / "bag_1.mcap", path / "bag_1.mcap")
    # The recorder was killed while it wrote this compressed copy: the messages must not count twice.
    packed = (later / "later.mcap.zstd").read_bytes()
    (path / "bag_1.mcap.zstd").write_bytes(packed[: len(packed) // 2])
    assert shades(path) == [0, 10, 20, 30, 90]


def test_a_truncated_compressed_file_is_read_as_far_as_it_unpacks(tmp_path, caplog):
    path = write_compressed(
        tmp_path / "bag", CompressionMode.FILE, StoragePlugin.MCAP, frames=12, picture=noisy
    )
    (file,) = path.iterdir()
    file.write_bytes(file.read_bytes()[:-600_000])
    with caplog.at_level(logging.WARNING):
        found = shades(path)
    assert "does not unpack to its end" in caplog.text
    assert len(found) in (9, 10)
    assert found == [10 * index % 256 for index in range(len(found))]


def test_a_file_that_only_looks_compressed_is_refused(tmp_path):
    (tmp_path / "x.mcap.zstd").write_bytes(b"not zstd at all" * 10)
    with pytest.raises(SourceError, match=r"does not unpack .*expected a file that rosbag2 compressed"):
        open_source(tmp_path / "x.mcap.zstd")
    with pytest.raises(SourceError, match="does not unpack"):
        open_source(tmp_path)


def test_a_damaged_compressed_message_is_skipped(tmp_path, caplog):
    path = write_compressed(tmp_path / "bag", CompressionMode.MESSAGE, StoragePlugin.SQLITE3)
    (file,) = path.iterdir()
    content = bytearray(file.read_bytes())
    at = content.index(b"\x28\xb5\x2f\xfd") + 6  # after the sizes: the first block
    content[at : at + 8] = b"\xff" * 8
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert len(shades(path)) == 3
    assert "it is compressed with zstd and does not unpack" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("message_count: many", "message_count: 3"),
        ("message_count: -5", "message_count: 3"),
        ("message_count: 999999999999999999999", "message_count: 3"),
        ("name: 7", "name: /cam"),
        ("name: [a]", "name: /cam"),
    ],
)
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_wrong_metadata_is_ignored_with_a_warning(tmp_path, caplog, storage, wrong, right):
    with BagWriter(tmp_path / "bag", storage) as bag:
        for index in range(3):
            bag.write_image("/cam", STAMP_NS + index, "cam", shade(index))
    metadata = tmp_path / "bag" / "metadata.yaml"
    text = metadata.read_text()
    assert right in text
    metadata.write_text(text.replace(right, wrong))
    with caplog.at_level(logging.WARNING), open_source(tmp_path / "bag") as source:
        assert source.length == 3
        assert len(list(source)) == 3
    assert "without metadata.yaml" in caplog.text


def test_images_are_read_although_their_definition_is_damaged(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_image("/cam", STAMP_NS, "cam", shade(3))
    # Without compression, so that the definition can be found in the file.
    plain = Writer(tmp_path / "plain", version=9, storage_plugin=StoragePlugin.MCAP)
    with plain as writer:
        connection = writer.add_connection("/cam", IMAGE_TYPE, typestore=TYPES)
        message = recorded_image(TYPES, STAMP_NS, "cam", rgb_to_image_fields(shade(3)))
        writer.write(connection, STAMP_NS, TYPES.serialize_cdr(message, IMAGE_TYPE))
    (file,) = (tmp_path / "plain").glob("*.mcap")
    content = file.read_bytes()
    assert b"builtin_interfaces/Time stamp" in content
    file.write_bytes(content.replace(b"builtin_interfaces/Time stamp", b"builtin_interfaces/Time stemp"))
    assert shades(file) == [30]


def test_one_reason_is_logged_once_and_counted_in_the_error(tmp_path, caplog):
    with BagWriter(tmp_path / "bag") as bag:
        for index in range(500):
            fields = ImageFields(4, 4, "64FC1", 0, 32, np.zeros(128, np.uint8))
            bag.write_raw(
                "/cam", IMAGE_TYPE, STAMP_NS + index, recorded_image(TYPES, STAMP_NS + index, "c", fields)
            )
    with (
        caplog.at_level(logging.WARNING),
        open_source(tmp_path / "bag") as source,
        pytest.raises(
            SourceError, match=r"announces 500: 500 of 500 skipped, as image encoding '64FC1' is not"
        ),
    ):
        list(source)
    assert len(caplog.records) == 1


def test_skipped_images_are_counted_by_reason_at_the_end(tmp_path, caplog):
    with BagWriter(tmp_path / "bag") as bag:
        for index in range(20):
            fields = rgb_to_image_fields(shade(index))
            if index % 2:
                fields = fields._replace(encoding="64FC1")
            bag.write_raw(
                "/cam", IMAGE_TYPE, STAMP_NS + index, recorded_image(TYPES, STAMP_NS + index, "c", fields)
            )
    with caplog.at_level(logging.WARNING), open_source(tmp_path / "bag") as source:
        assert len(list(source)) == 10
        assert source.skipped == 10
    first, rest = caplog.messages
    assert first.startswith("skipped message 1 on /cam")
    assert "skipped 9 more of" in rest
    assert "message 3 on /cam" in rest


@pytest.mark.parametrize("by", ["name", "format"])
def test_compressed_depth_is_never_offered_as_an_image(tmp_path, by):
    topic, format = (
        ("/depth/compressedDepth", "") if by == "name" else ("/thing", "16UC1; compressedDepth png")
    )
    depth = bytes(12) + cv2.imencode(".png", np.full((40, 60), 1000, np.uint16))[1].tobytes()
    with BagWriter(tmp_path / "bag") as bag:
        for index in range(3):
            message = compressed_message(
                TYPES, STAMP_NS + index, "cam", format, np.frombuffer(depth, np.uint8)
            )
            bag.write_raw(topic, COMPRESSED_TYPE, STAMP_NS + index, message)
            bag.write_image("/colour/image_raw", STAMP_NS + index, "cam", shade(index))
    with open_source(tmp_path / "bag") as source:  # the only image topic there is
        assert source.topic == "/colour/image_raw"
    with pytest.raises(
        SourceError, match=rf"{topic}.* is compressed depth, expected images; .*/colour/image_raw"
    ):
        open_source(tmp_path / "bag", topic)
    with BagReader(tmp_path / "bag") as reader:
        assert {info.name for info in reader.topics()} == {topic, "/colour/image_raw"}
