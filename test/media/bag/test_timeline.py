# SPDX-License-Identifier: Apache-2.0
"""Every image of a bag gets a unique stamp, with a note if headers are empty, repeat or go back."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.bag.timeline import BagTimeline, read_timeline
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.messages.cdr_header import header_frame_id, header_stamp_ns, with_stamp
from sam2_ros.media.messages.message_types import IMAGE_TYPE, recorded_image, standard_types
from sam2_ros.media.ros_image import rgb_to_image_fields

S = 1_000_000_000
TOPIC = "/camera/image_raw"


def timeline(path: Path, headers_ns: Sequence[int], received_ns: Sequence[int]) -> BagTimeline:
    with BagWriter(path) as bag:
        for header_ns, stamp_ns in zip(headers_ns, received_ns, strict=True):
            fields = rgb_to_image_fields(np.zeros((4, 6, 3), np.uint8))
            bag.write_raw(
                TOPIC, IMAGE_TYPE, stamp_ns, recorded_image(standard_types(), header_ns, "cam", fields)
            )
    return read_timeline(path)


def test_stamps_are_the_headers(tmp_path: Path) -> None:
    found = timeline(tmp_path / "bag", [5 * S, 6 * S, 8 * S], [50 * S, 51 * S, 52 * S])
    assert found.stamps_ns == [5 * S, 6 * S, 8 * S]
    assert (found.stamps_s, found.duration_s, found.notes) == ([0.0, 1.0, 3.0], 3.0, ())
    assert [(image.received_ns, image.frame_id) for image in found.images][1] == (51 * S, "cam")
    assert found.index_by_stamp == found.index_by_header("x") == {5 * S: 0, 6 * S: 1, 8 * S: 2}
    assert (found.topic, found.compressed) == (TOPIC, False)


def test_an_absent_stamp_becomes_the_time_of_reception_with_a_note(tmp_path: Path) -> None:
    found = timeline(tmp_path / "bag", [50 * S, 0, 52 * S], [50 * S, 51 * S, 52 * S])
    assert found.stamps_ns == [50 * S, 51 * S, 52 * S]
    assert len(found.notes) == 1
    assert "1 of 3 images on /camera/image_raw have no stamp" in found.notes[0]
    with pytest.raises(
        SourceError, match=r"^the truth names its image by the header's stamp, but 1 of the 3 images"
    ):
        found.index_by_header("the truth")


@pytest.mark.parametrize("headers_ns", [[5 * S, 5 * S, 6 * S], [5 * S, 4 * S, 6 * S]])
def test_stamps_that_repeat_or_go_back_are_replaced_by_the_times_of_reception(
    tmp_path: Path, headers_ns: list[int]
) -> None:
    found = timeline(tmp_path / "bag", headers_ns, [50 * S, 51 * S, 52 * S])
    assert found.stamps_ns == [50 * S, 51 * S, 52 * S]
    assert "the stamps of 1 of 3 images" in found.notes[0]


def test_a_bag_whose_images_cannot_be_distinguished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="repeat or go back, and so do the times"):
        timeline(tmp_path / "bag", [0, 0, 0], [50 * S, 50 * S, 51 * S])


def test_changing_the_stamp_of_a_serialized_message_changes_nothing_else(tmp_path: Path) -> None:
    timeline(tmp_path / "bag", [5 * S + 7], [50 * S])
    with BagReader(tmp_path / "bag") as reader:
        (raw,) = reader.raw_messages()
        assert (header_stamp_ns(raw.cdr), header_frame_id(raw.cdr)) == (5 * S + 7, "cam")
        before = reader.decode(raw)
        changed = with_stamp(raw.cdr, 9 * S + 1)
        after = reader.decode(raw._replace(cdr=changed))
    assert (after.header.stamp.sec, after.header.stamp.nanosec, after.header.frame_id) == (9, 1, "cam")
    assert (after.height, after.width, after.encoding) == (before.height, before.width, before.encoding)
    assert np.array_equal(after.data, before.data)


def test_a_big_endian_header_is_read_and_a_message_without_one_is_refused() -> None:
    cdr = b"\x00\x00\x00\x00" + struct.pack(">iII", 3, 4, 4) + b"cam\x00"
    assert (header_stamp_ns(cdr), header_frame_id(cdr)) == (3 * S + 4, "cam")
    assert header_stamp_ns(with_stamp(cdr, 8 * S)) == 8 * S
    with pytest.raises(struct.error):
        header_stamp_ns(b"\x00\x01")
