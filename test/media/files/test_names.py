# SPDX-License-Identifier: Apache-2.0
"""The order of image files, and the time stamps in their names."""

from __future__ import annotations

import random
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_ros.media.files.image_folder import image_files
from sam2_ros.media.files.names import order_names
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.frames import open_source

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS


def ordered(stems, suffix=".png"):
    """Shuffle the names and order them; returns the stems in order, and the `NameOrder`."""
    names = [f"{stem}{suffix}" for stem in stems]
    order = order_names(random.Random(0).sample(names, len(names)))
    return [name.removesuffix(suffix) for name in order.names], order


def floats(count, rate):
    return [str(1_700_000_000 + index / rate) for index in range(count)]


def nanoseconds(count, rate, pad=0):
    stamps_ns = [START_NS + 950_000_001 + index * NS // rate for index in range(count)]
    return [f"{stamp_ns // NS}.{stamp_ns % NS:0{pad}d}" for stamp_ns in stamps_ns]


@pytest.mark.parametrize(
    ("stems", "first_ns", "step_ns"),
    [
        (
            ["1700000000.0", "1700000000.1", "1700000000.1333", "1700000000.2", "1700000000.25"],
            START_NS,
            NS // 10,
        ),
        (floats(40, 30), START_NS, 33_333_300),
        (floats(25, 10), START_NS, NS // 10),
        (nanoseconds(40, 30), START_NS + 950_000_001, NS // 30),
        (nanoseconds(8, 30), START_NS + 950_000_001, NS // 30),
        (nanoseconds(40, 30, pad=9), START_NS + 950_000_001, NS // 30),
        ([str(index / 30) for index in range(60)], 0, 33_333_333),
        ([str(round(index / 30, 3)) for index in range(60)], 0, 33_000_000),
        (["0.0", "5e-05", "0.033", "0.5", "1.0", "1e+01"], 0, 50_000),
        (["frame_0.5", "frame_1.0", "frame_1.25", "frame_1.5", "frame_10.0"], NS // 2, NS // 2),
        (["1700000000.05_rgb", "1700000000.1_rgb", "1700000000.25_rgb"], START_NS + NS // 20, NS // 20),
        (["0", "0.5", "1", "1.5", "10"], 0, NS // 2),
        ([str(index / 10) for index in range(25)], 0, NS // 10),
        (["-3.5", "-3.25", "-1.0", "0.5"], 0, NS // 4),
        ([str(START_NS + index * 50_000_000) for index in range(3)], START_NS, 50_000_000),
        ([f"cam_{START_NS // 1000 + index * 33_333}" for index in range(3)], START_NS, 33_333_000),
        ([str(START_NS // 1_000_000 + index * 33) for index in range(3)], START_NS, 33_000_000),
    ],
)
def test_stamps_in_names_are_in_order_and_kept(stems, first_ns, step_ns):
    found, order = ordered(stems)
    assert found == stems
    assert order.stamps_ns is not None
    assert order.stamps_ns[0] == first_ns
    assert order.stamps_ns[1] - order.stamps_ns[0] == pytest.approx(step_ns, abs=200)


@pytest.mark.parametrize(
    "stems",
    [
        ["frame1", "frame2", "frame10"],
        ["0001", "0002", "0010"],
        ["t-1", "t-2", "t-10"],  # a separator
        ["t-10", "t-2", "t-1", "t0", "t1"],  # a sign: t0 has none
        ["-10", "-2", "-1"],
        ["-2", "-1", "0", "1", "10"],
        ["img", "img(1)", "img(2)", "img(10)"],
        ["shot", "shot (1)", "shot (2)", "shot (10)"],
        ["1.8", "1.9", "1.10", "1.11", "2.1", "2.2"],
        ["v1.2.3", "v1.2.4", "v1.2.10"],
        ["12e4", "13e2"],  # parts of a hash
        ["2024-01-01_10.00.01", "2024-01-01_10.00.02"],
        ["0000000000000", "0000000000001", "0000000000002"],
        ["left_1", "left_2", "right_1"],
    ],
)
def test_other_numbers_are_in_natural_order_and_are_not_times(stems):
    found, order = ordered(stems)
    assert found == stems
    assert order.stamps_ns is None
    assert order.note == ""


def test_an_ambiguous_order_gives_a_note():
    found, order = ordered(["5.12", "5.123", "5.2"])
    assert found == ["5.12", "5.123", "5.2"]
    assert "'5.12.png' comes before '5.2.png'; pad them with zeros" in order.note


def test_times_before_zero_are_counted_from_the_first_with_a_note():
    _, order = ordered(["-0.5", "0.0", "0.25"])
    assert order.stamps_ns == (0, NS // 2, 3 * NS // 4)
    assert "go below 0" in order.note


@pytest.fixture
def stamped(tmp_path: Path) -> Path:
    folder = tmp_path / "stamped"
    folder.mkdir()
    for number, stamp in enumerate(
        (1700000000.0, 1700000000.1, 1700000000.1333, 1700000000.2, 1700000000.25)
    ):
        cv2.imwrite(str(folder / f"{stamp}.png"), np.full((8, 8, 3), 20 * number, np.uint8))
    return folder


def test_a_folder_of_stamps_is_read_in_time(stamped: Path):
    assert [path.stem for path in image_files(stamped)][2:4] == ["1700000000.1333", "1700000000.2"]
    with open_source(stamped) as source:
        frames = list(source)
        assert source.fps == pytest.approx(1 / 0.05835, rel=0.01)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 20, 40, 60, 80]
    assert [frame.stamp_ns - START_NS for frame in frames] == [
        0,
        100_000_000,
        133_300_000,
        200_000_000,
        250_000_000,
    ]
    assert frames[2].name == "1700000000.1333.png"


def test_a_given_rate_overrides_stamps_in_names(stamped: Path):
    with open_source(stamped, fps=5) as source:
        assert [frame.stamp_ns for frame in source] == [index * NS // 5 for index in range(5)]
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(SourceError, match=r"--fps .* given, frames per second above 0"):
            open_source(stamped, fps=wrong)
