# SPDX-License-Identifier: Apache-2.0
"""Folders with other images among their frames: refused if wrong frames would be used, else one warning."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.frames import open_source

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
MASK = np.zeros((24, 32), np.uint8)
DEPTH = np.full((24, 32), 2000, np.uint16)
THUMBNAIL = PICTURE[::4, ::4]


def fill(folder: Path, **files: np.ndarray) -> Path:
    """Write images; a name with `{:04d}` stands for six files, numbered 0 to 5."""
    for name, image in files.items():
        for number in range(6) if "{" in name else (0,):
            cv2.imwrite(str(folder / name.format(number)), image)
    return folder


@pytest.mark.parametrize(
    ("files", "pattern", "first"),
    [
        ({"{:05d}.jpg": PICTURE, "{:05d}.png": MASK}, "*.jpg", "00000.jpg"),
        ({"{:04d}_rgb.png": PICTURE, "{:04d}_depth.png": DEPTH}, "*_rgb.png", "0000_rgb.png"),
        ({"rgb_{:04d}.png": PICTURE, "depth_{:04d}.png": DEPTH}, "rgb_*.png", "rgb_0000.png"),
        ({"left_{:04d}.png": PICTURE, "right_{:04d}.png": PICTURE}, "left_*.png", "left_0000.png"),
        ({"{:04d}.jpg": PICTURE, "{:04d}_thumb.jpg": THUMBNAIL}, "*[0-9].jpg", "0000.jpg"),
        ({"{:04d}.png": PICTURE, "{:04d}_mask.png": PICTURE}, "*[0-9].png", "0000.png"),
        ({"{}.jpg": PICTURE, "{:05d}.png": MASK}, "*.jpg", "0.jpg"),
        ({"frame{:03d}.jpg": PICTURE, "mask{:03d}.jpg": PICTURE}, "frame*.jpg", "frame000.jpg"),
    ],
)
def test_two_series_in_one_folder_are_refused_with_a_pattern_that_chooses_one(
    tmp_path, files, pattern, first
):
    fill(tmp_path, **files)
    with pytest.raises(SourceError) as refused:
        open_source(tmp_path)
    assert "\n" not in str(refused.value)
    assert f"--glob '{pattern}'" in str(refused.value)
    with open_source(tmp_path, glob=pattern) as source:
        assert source.length == 6
        assert next(iter(source)).name == first


def test_kinds_that_alternate_are_refused_whatever_their_names(tmp_path):
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number:05d}.png"), MASK if number % 2 else PICTURE)
    with pytest.raises(SourceError, match=r"two kinds of images, .*colour \(00000.png\).*grey \(00001.png\)"):
        open_source(tmp_path)


def test_colour_and_depth_with_different_stamps_are_refused(tmp_path):
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"rgb_17000000{number}0.png"), PICTURE)
        cv2.imwrite(str(tmp_path / f"depth_17000000{number}3.png"), DEPTH)
    with pytest.raises(SourceError, match=r"two kinds of images.*--glob 'rgb_\*.png'"):
        open_source(tmp_path)


def test_a_mask_of_the_first_frame_among_the_frames_is_refused(tmp_path):
    fill(tmp_path, **{"{:05d}.jpg": PICTURE})
    cv2.imwrite(str(tmp_path / "00000.png"), MASK)
    with pytest.raises(
        SourceError, match=r"several files for 1 of its 6 names, such as 00000.jpg and 00000.png"
    ):
        open_source(tmp_path)


@pytest.mark.parametrize(("name", "image"), [("00099.png", MASK), ("cover.jpg", THUMBNAIL)])
def test_one_odd_file_is_used_with_a_warning(tmp_path, caplog, name, image):
    fill(tmp_path, **{"{:05d}.jpg": PICTURE})
    cv2.imwrite(str(tmp_path / name), image)
    with caplog.at_level(logging.WARNING), open_source(tmp_path) as source:
        assert source.length == 7
    assert len(caplog.records) == 1
    assert name in caplog.text
    assert "--glob" in caplog.text


def test_cameras_that_differ_by_a_number_give_a_warning(tmp_path, caplog):
    for camera in (0, 1):
        fill(tmp_path, **{f"cam{camera}_{{:04d}}.png": PICTURE})
    with caplog.at_level(logging.WARNING), open_source(tmp_path) as source:
        assert source.length == 12
    assert "2 series of the same 6 numbers" in caplog.text
    assert "--glob 'cam0_*.png'" in caplog.text


def test_a_pattern_that_matches_everything_is_accepted(tmp_path, caplog):
    fill(tmp_path, **{"{:05d}.jpg": PICTURE, "{:05d}.png": MASK})
    with caplog.at_level(logging.WARNING), open_source(tmp_path, glob="*") as source:
        assert len(list(source)) == 12
    assert "several files for 6 of its 6 names" in caplog.text


@pytest.mark.parametrize(
    "files",
    [
        {"{:05d}.jpg": PICTURE},
        {"frame_{}.png": PICTURE, "frame_7{}.png": PICTURE},
        {"take1_{:02d}.png": PICTURE, "take2_1{:02d}.png": PICTURE},
    ],
)
def test_a_folder_of_frames_only_gives_no_warning(tmp_path, caplog, files):
    fill(tmp_path, **files)
    with caplog.at_level(logging.WARNING), open_source(tmp_path) as source:
        assert len(list(source)) == source.length
    assert not caplog.records


@pytest.mark.parametrize("name", ["{}.png", "t{}.png"])
def test_numbers_below_and_above_zero_are_one_series_in_their_order(tmp_path, caplog, name):
    for number in (-2, -1, 0, 1, 2):
        cv2.imwrite(str(tmp_path / name.format(number)), PICTURE)
    with open_source(tmp_path) as source:
        assert [frame.name for frame in source] == [name.format(number) for number in (-2, -1, 0, 1, 2)]
    assert not caplog.records


def test_portrait_and_landscape_photographs_are_of_one_kind(tmp_path, caplog):
    for number in range(6):
        image = PICTURE if number % 2 else np.ascontiguousarray(PICTURE.transpose(1, 0, 2))
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), image)
    with caplog.at_level(logging.WARNING):
        open_source(tmp_path)
    assert not caplog.records


def test_a_pattern_without_a_file_or_for_no_folder_is_refused(tmp_path):
    fill(tmp_path, **{"{:05d}.jpg": PICTURE})
    with pytest.raises(
        SourceError, match=r"no image of folder .* fits --glob '\*.png'.*holds 6 images, such as 0000"
    ):
        open_source(tmp_path, glob="*.png")
    video = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 24))
    writer.write(PICTURE)
    writer.release()
    with pytest.raises(SourceError, match=r"--glob '\*.jpg' was asked for, but .* is not a folder of images"):
        open_source(video, glob="*.jpg")
    with pytest.raises(SourceError, match=r"--fps '10.0' was asked for"):
        open_source(video, fps=10.0)
