# SPDX-License-Identifier: Apache-2.0
"""Videos with damaged frames, edit lists, varying rates: true numbers, the container's stamps, one warning."""

from __future__ import annotations

import logging
import shutil
import struct
import subprocess
from pathlib import Path

import cv2
import pytest
from damaged_videos import (
    cut_by_edit_list,
    damage,
    damage_mp4,
    number_of,
    numbered,
    set_times,
    write_numbered,
)

from sam2_ros.media.frame_source import Frame, SourceError
from sam2_ros.media.frames import open_source

FRAMES = 20


def read(path: Path) -> tuple[list[Frame], object]:
    with open_source(path) as source:
        return list(source), source


@pytest.mark.parametrize("suffix", ["avi", "mkv"])
@pytest.mark.parametrize("bad", [[10], [0], [0, 1, 2], [19], [3, 4, 12, 19], list(range(2, 18))])
def test_damaged_frames_are_left_out_and_the_others_keep_their_numbers(tmp_path, caplog, suffix, bad):
    path = write_numbered(tmp_path / f"clip.{suffix}", FRAMES, "MJPG")
    damage(path, bad)
    with caplog.at_level(logging.WARNING):
        frames, source = read(path)
    good = [index for index in range(FRAMES) if index not in bad]
    assert [frame.index for frame in frames] == good
    assert [number_of(frame.image) for frame in frames] == good
    assert [frame.stamp_ns for frame in frames] == [index * 40_000_000 for index in good]
    assert source.skipped == len(bad)
    assert source.missing == tuple(bad)
    assert len(caplog.records) == 1
    assert f"{len(bad)} of {FRAMES} frames do not decode and are left out: {bad[0]}" in caplog.text


def test_frames_that_depend_on_a_damaged_frame_are_read(tmp_path):
    """MPEG-4 stores differences between frames: the frames after a damaged one decode, with errors."""
    path = write_numbered(tmp_path / "clip.mp4", 40, "mp4v")
    damage_mp4(path, [5, 6, 39])
    frames, source = read(path)
    expected = [index for index in range(40) if index not in (5, 6, 39)]
    assert [frame.index for frame in frames] == expected
    assert source.missing == (5, 6, 39)
    later = [frame for frame in frames if frame.index >= 24]  # after the next key frames
    assert [number_of(frame.image) for frame in later] == [frame.index for frame in later]


def test_a_second_pass_gives_the_same_frames_and_no_second_warning(tmp_path, caplog):
    path = write_numbered(tmp_path / "clip.avi", FRAMES, "MJPG")
    damage(path, [4])
    with open_source(path) as source, caplog.at_level(logging.WARNING):
        passes = [[(frame.index, frame.stamp_ns) for frame in source] for _ in range(2)]
        assert passes[0] == passes[1]
        assert source.missing == (4,)
    assert len(caplog.records) == 1


def test_a_video_in_which_no_frame_decodes_is_refused(tmp_path):
    path = write_numbered(tmp_path / "clip.avi", FRAMES, "MJPG")
    damage(path, range(FRAMES))
    with pytest.raises(SourceError, match="opens but no frame decodes, though it announces 20"):
        open_source(path)


def test_a_clip_that_an_edit_list_cuts_is_complete(tmp_path, caplog):
    path = write_numbered(tmp_path / "clip.mp4", FRAMES, "mp4v")
    cut_by_edit_list(path, first=5, frames=9)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES  # announced as before
    with caplog.at_level(logging.WARNING):
        frames, source = read(path)
    assert [number_of(frame.image) for frame in frames] == list(range(5, 14))
    assert [frame.index for frame in frames] == list(range(9))
    assert frames[0].stamp_ns == 0
    assert (source.length, source.skipped, source.missing) == (9, 0, ())
    assert not caplog.records


def test_a_video_of_varying_rate_has_the_stamps_of_its_container(tmp_path):
    times_ms = [0, 40, 80, 1000, 1040, 1500, 1540, 1580]
    path = write_numbered(tmp_path / "clip.mp4", len(times_ms), "mp4v")
    set_times(path, times_ms)
    frames, source = read(path)
    assert [frame.stamp_ns // 1_000_000 for frame in frames] == times_ms
    assert [frame.index for frame in frames] == list(range(len(times_ms)))
    assert [number_of(frame.image) for frame in frames] == list(range(len(times_ms)))
    assert source.fps == pytest.approx(25.0)  # from the median gap, not the mean
    assert source.skipped == 0


def test_a_pause_is_not_a_missing_frame(tmp_path):
    """Forty frames of constant rate with one pause: numbers count the frames in the file."""
    times_ms = [40 * index + (2000 if index >= 30 else 0) for index in range(40)]
    path = write_numbered(tmp_path / "clip.mp4", 40, "mp4v")
    set_times(path, times_ms)
    frames, source = read(path)
    assert [frame.index for frame in frames] == list(range(40))
    assert [frame.stamp_ns // 1_000_000 for frame in frames] == times_ms
    assert source.missing == ()


@pytest.mark.parametrize(
    ("suffix", "fourcc", "fps"),
    [("avi", "MJPG", 25.0), ("mp4", "mp4v", 29.97), ("mkv", "mp4v", 30.0), ("webm", "VP80", 24.0)],
)
def test_stamps_of_a_constant_rate_are_kept(tmp_path, suffix, fourcc, fps):
    """Stamps are frame / rate, to a millisecond, the unit of Matroska."""
    frames, source = read(write_numbered(tmp_path / f"clip.{suffix}", FRAMES, fourcc, fps))
    assert source.fps == pytest.approx(fps, rel=1e-4)
    assert [frame.stamp_s for frame in frames] == pytest.approx(
        [index / fps for index in range(FRAMES)], abs=1e-3
    )
    assert [number_of(frame.image) for frame in frames] == list(range(FRAMES))


def test_prompts_beyond_an_announced_count_that_is_too_low_are_accepted(tmp_path):
    path = write_numbered(tmp_path / "clip.avi", FRAMES, "MJPG")
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"avih") + 24, 7)
    struct.pack_into("<I", content, content.index(b"strh") + 40, 7)
    path.write_bytes(content)
    with open_source(path) as source:
        assert source.length == 7
        assert source.reaches(19)
        assert not source.reaches(20)
        assert [number_of(frame.image) for frame in source] == list(range(FRAMES))
        assert source.skipped == 0


def test_an_mp4_whose_end_is_missing_says_how_much(tmp_path, caplog):
    """The index is at the start, as web servers and phones write it, so that the file opens."""
    path = write_numbered(tmp_path / "clip.mp4", FRAMES, "mp4v")
    content = path.read_bytes()
    at = content.index(b"moov") - 4
    moov = bytearray(content[at:])
    places = moov.index(b"stco") + 12
    (count,) = struct.unpack_from(">I", moov, places - 4)
    for number in range(count):
        (place,) = struct.unpack_from(">I", moov, places + 4 * number)
        struct.pack_into(">I", moov, places + 4 * number, place + len(moov))
    (head,) = struct.unpack_from(">I", content, 0)
    whole = content[:head] + bytes(moov) + content[head:at]
    path.write_bytes(whole[: len(whole) - 400])
    with caplog.at_level(logging.WARNING):
        frames, source = read(path)
    assert 0 < len(frames) < FRAMES
    assert source.skipped == FRAMES - len(frames)
    assert "ends early" in caplog.text
    assert "400 bytes are missing" in caplog.text


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg writes these files")
@pytest.mark.parametrize(
    ("name", "source", "codec", "count"),
    [
        ("no_pts.ogv", "-f lavfi -i testsrc=r=25:d=0.4:s=64x48", "-c:v libtheora", 10),
        (
            "cover.mp4",
            "-f lavfi -i sine=d=1 -f lavfi -i testsrc=r=25:d=0.04:s=64x48",
            "-c:v mjpeg -disposition:v attached_pic",
            1,
        ),
    ],
)
def test_misleading_counts_of_a_container_make_no_frame_missing(tmp_path, caplog, name, source, codec, count):
    path = tmp_path / name
    maps = "-map 0 -map 1" if source.count("-i ") > 1 else ""
    command = f"ffmpeg -loglevel error {source} {maps} {codec} {path}"
    subprocess.run(command.split(), check=True)
    with caplog.at_level(logging.WARNING):
        frames, video = read(path)
    assert (len(frames), video.skipped, video.length) == (count, 0, count)
    assert not [line for line in caplog.messages if "longer" in line or "do not decode" in line]


def test_the_number_drawn_into_a_test_image_is_read_back():
    assert [number_of(numbered(index)) for index in range(40)] == list(range(40))
