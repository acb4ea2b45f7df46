# SPDX-License-Identifier: Apache-2.0
"""A bag whose clock was wrong: all readers repair times and order from the headers' stamps, with one warning."""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from sam2_ros.media.bag.repair_stamps import repair_stamps
from sam2_ros.media.bag.timeline import read_timeline
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.frames import open_source
from sam2_ros.media.messages.cdr_header import MAX_STAMP_NS
from sam2_ros.media.messages.message_types import IMAGE_TYPE, header, recorded_image, standard_types
from sam2_ros.media.ros_image import rgb_to_image_fields

S = 1_000_000_000
EPOCH = 1_700_000_000 * S
D = S // 10


def write_bag(
    path: Path, headers_ns: Sequence[int], received_ns: Sequence[int], storage: StoragePlugin
) -> Path:
    types = standard_types()
    with Writer(path, version=9, storage_plugin=storage) as bag:
        connection = bag.add_connection("/cam", IMAGE_TYPE, typestore=types)
        for index, (header_ns, stamp_ns) in enumerate(zip(headers_ns, received_ns, strict=True)):
            fields = rgb_to_image_fields(np.full((4, 6, 3), index % 256, np.uint8))
            message = recorded_image(types, header_ns, "cam", fields)
            bag.write(connection, stamp_ns, types.serialize_cdr(message, IMAGE_TYPE))
    return path


def shades(path: Path) -> list[tuple[int, int]]:
    """Return (shade, stamp) of each frame in order."""
    with open_source(path) as source:
        return [(int(frame.image[0, 0, 0]), frame.stamp_ns) for frame in source]


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("wrong_ns", [2**63 - S, 40 * 365 * 86400 * S, 5 * S])
def test_an_image_received_at_an_impossible_time_keeps_its_place(tmp_path, caplog, storage, wrong_ns):
    headers_ns = [EPOCH + index * D for index in range(8)]
    received_ns = [stamp_ns + 3_000_000 for stamp_ns in headers_ns]
    received_ns[3] = wrong_ns
    path = write_bag(tmp_path / "bag", headers_ns, received_ns, storage)
    with caplog.at_level(logging.WARNING):
        assert shades(path) == list(enumerate(headers_ns))
    assert "1 of 8 images on /cam were received at impossible times" in caplog.text
    timeline = read_timeline(path)
    assert timeline.stamps_ns == headers_ns
    assert [image.received_ns for image in timeline.images] == [ns + 3_000_000 for ns in headers_ns]
    assert "1 of 8 images" in timeline.notes[0]


def test_negative_times_of_reception_and_headers_without_a_stamp(tmp_path):
    received_ns = [EPOCH, -5 * S, EPOCH + 2 * D, EPOCH + 3 * D]
    path = write_bag(tmp_path / "bag", [0] * 4, received_ns, StoragePlugin.SQLITE3)
    found = shades(path)
    assert len(found) == 4
    assert [stamp_ns for _, stamp_ns in found] == sorted({stamp_ns for _, stamp_ns in found})
    assert all(EPOCH - S < stamp_ns < EPOCH + S for _, stamp_ns in found)
    assert read_timeline(path).stamps_ns == [stamp_ns for _, stamp_ns in found]


@pytest.mark.parametrize(
    ("headers", "told"), [([0, 1, 3, 2, 4], "1 of 5"), ([4, 3, 2, 1, 0], "4 of 5"), ([0, 1, 2, 2, 3], "")]
)
def test_stamps_that_go_back_are_logged_once_and_the_order_of_reception_stays(
    tmp_path, caplog, headers, told
):
    headers_ns = [EPOCH + index * D for index in headers]
    received_ns = [EPOCH + index * D for index in range(5)]
    path = write_bag(tmp_path / "bag", headers_ns, received_ns, StoragePlugin.MCAP)
    with caplog.at_level(logging.WARNING), open_source(path) as source:
        for _ in range(2):
            assert [frame.stamp_ns for frame in source] == headers_ns
    assert [f"stamps of {told} images on /cam are earlier" in line for line in caplog.messages] == [
        True
    ] * bool(told)


def test_a_correct_clock_is_not_changed():
    headers_ns = [EPOCH + index * D for index in range(6)]
    late_ns = [stamp_ns + index % 3 * S for index, stamp_ns in enumerate(headers_ns)]
    clock = repair_stamps("/cam", headers_ns, late_ns)
    assert (clock.order, clock.received_ns, clock.note) == (tuple(range(6)), tuple(late_ns), "")


def test_a_wrong_header_stamp_does_not_move_its_image():
    received_ns = [EPOCH + index * D for index in range(6)]
    headers_ns = [*received_ns[:2], 5 * S, *received_ns[3:]]
    assert repair_stamps("/cam", headers_ns, received_ns).order == tuple(range(6))


def test_more_misplaced_images_than_memory_should_hold_are_refused(tmp_path):
    headers_ns = [EPOCH + index * D for index in range(600)]
    received_ns = [2**63 - S + index if index % 2 else ns for index, ns in enumerate(headers_ns)]
    path = write_bag(tmp_path / "bag", headers_ns, received_ns, StoragePlugin.SQLITE3)
    with pytest.raises(SourceError, match=r"300 of 600 images on /cam .* out of order, at most 256 expected"):
        open_source(path)


def test_two_runs_in_one_bag_stay_as_they_were_recorded():
    first = [EPOCH + index * D for index in range(5)]
    headers_ns, received_ns = first + first, first + [stamp_ns + 60 * S for stamp_ns in first]
    clock = repair_stamps("/cam", headers_ns, received_ns)
    assert (clock.order, clock.note) == (tuple(range(10)), "")


def test_a_stamp_that_no_message_can_hold_is_refused():
    assert header(standard_types(), MAX_STAMP_NS, "cam").stamp.nanosec == 999_999_999
    for stamp_ns in (MAX_STAMP_NS + 1, -1):
        with pytest.raises(
            SourceError, match="does not fit into a message, expected one from 1970 to January 2038"
        ):
            header(standard_types(), stamp_ns, "cam")


def test_a_header_beyond_2038_counts_as_none(tmp_path):
    path = write_bag(tmp_path / "bag", [EPOCH] * 3, [EPOCH, EPOCH + D, EPOCH + 2 * D], StoragePlugin.SQLITE3)
    (file,) = path.glob("*.db3")
    content = file.read_bytes()
    good, bad = struct.pack("<iI", EPOCH // S, 0), struct.pack("<iI", 2**31 - 1, 2**32 - 1)
    file.write_bytes(content.replace(good, bad))
    assert [stamp_ns for _, stamp_ns in shades(path)] == [EPOCH, EPOCH + D, EPOCH + 2 * D]
    assert read_timeline(path).stamps_ns == [EPOCH, EPOCH + D, EPOCH + 2 * D]
