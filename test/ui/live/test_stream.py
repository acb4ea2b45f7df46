# SPDX-License-Identifier: Apache-2.0
"""Images and results of one stamp come together; the newest pair counts, and memory is bounded."""

from __future__ import annotations

import struct
import time

import pytest

from sam2_ros.ui.live import stream as stream_module
from sam2_ros.ui.live.stream import Stream

STAMP_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000_000


def message(number: int, size: int = 40) -> bytes:
    """A serialized message with a header: little-endian CDR."""
    stamp = struct.pack("<iI", *divmod(STAMP_NS + number * STEP_NS, 10**9))
    return (b"\0\1\0\0" + stamp + struct.pack("<I", 1) + b"\0").ljust(size, bytes([number % 256]))


def clock_ns(number: int, later_ms: float) -> int:
    return STAMP_NS + number * STEP_NS + round(later_ms * 1e6)


def result(stream: Stream, number: int, later_ms: float = 30) -> None:
    stream.add_objects(message(number, 60), clock_ns(number, later_ms))


def test_an_image_is_shown_with_the_result_of_its_own_stamp():
    stream = Stream()
    result(stream, 0)  # results come: images wait for theirs
    for number in (1, 2, 3):
        stream.add_image(message(number), False)
    assert stream.take(0) is None
    result(stream, 2)
    moment = stream.take(0)
    assert moment is not None
    assert (moment.stamp_ns, moment.image, moment.objects) == (
        clock_ns(2, 0),
        message(2),
        message(2, 60),
    )
    assert stream.take(0) is None  # once
    result(stream, 1)  # its image is older than one that was shown
    assert stream.take(0) is None
    result(stream, 3)
    assert stream.take(0) is not None


def test_a_result_that_comes_before_its_image_waits_for_it():
    stream = Stream()
    result(stream, 5)
    assert stream.take(0) is None
    stream.add_image(message(5), True)
    moment = stream.take(0)
    assert moment is not None
    assert moment.compressed
    assert moment.objects == message(5, 60)


def test_images_are_shown_alone_while_no_results_come(monkeypatch: pytest.MonkeyPatch):
    stream = Stream()
    stream.add_image(message(1), False)
    moment = stream.take(0)
    assert moment is not None
    assert moment.objects is None
    result(stream, 1)
    stream.take(0)
    stream.add_image(message(2), False)
    assert stream.take(0) is None  # the node works: its result comes soon
    monkeypatch.setattr(stream_module, "ALONE_S", 0.01)
    time.sleep(0.02)
    stream.add_image(message(3), False)
    assert stream.take(0) is not None


def test_images_without_results_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream_module, "MOST_BYTES", 10_000)
    stream = Stream()
    result(stream, 0)
    for number in range(1, 200):
        stream.add_image(message(number, 1000), False)
    assert stream._bytes <= 10_000
    assert sum(len(image) for image, _, _ in stream._images.values()) == stream._bytes
    stream.add_image(message(-100, 1000), False)  # time has jumped back
    assert len(stream._images) == 1


def test_latency_counts_from_the_stamp_unless_the_cameras_clock_is_another_one():
    stream = Stream()
    for number in range(1, 6):
        stream.add_image(message(number), False)
        result(stream, number, later_ms=80 + number)
    pace = stream.pace()
    assert (pace.latency_ms, pace.from_stamp) == (pytest.approx(83), True)
    assert pace.results_hz > 10
    stream.reset()
    assert stream.pace().latency_ms is None
    for number in range(1, 6):
        stream.add_image(message(number), False)
        result(stream, number, later_ms=-3e6)
    pace = stream.pace()
    assert not pace.from_stamp
    assert 0 <= pace.latency_ms < 1000  # type: ignore[operator]
