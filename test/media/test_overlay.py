# SPDX-License-Identifier: Apache-2.0
"""Overlays are drawn at the masks, in the object's colour; written videos can be read."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from sam2_ros.engine.result import FrameResult, ObjectState
from sam2_ros.errors import UserError
from sam2_ros.media.overlay import PALETTE, VideoWriter, colour_of, container_fps, draw_overlay


def result_of(objects, height_px=200, width_px=300):
    return FrameResult(0, 0.0, height_px, width_px, objects)


@pytest.fixture
def grey():
    return np.full((200, 300, 3), 100, np.uint8)


@pytest.fixture
def disc():
    return cv2.circle(np.zeros((200, 300), np.uint8), (150, 110), 50, 1, -1).astype(bool)


def test_palette_is_black_then_distinct():
    assert PALETTE.shape == (256, 3)
    assert PALETTE.dtype == np.uint8
    assert not PALETTE[0].any()
    assert len(np.unique(PALETTE, axis=0)) == 256
    first = PALETTE[1:13].astype(int)
    distances = np.abs(first[:, None] - first[None]).sum(axis=2)[~np.eye(12, dtype=bool)]
    assert distances.min() > 60
    assert (PALETTE[1:] @ (0.299, 0.587, 0.114)).min() > 90  # readable on dark images


def test_labels_beyond_the_palette_have_a_colour():
    assert colour_of(256) == colour_of(1)
    assert all(sum(colour_of(label)) > 0 for label in (1, 255, 256, 65534))


def test_mask_is_tinted_and_other_pixels_are_not_changed(grey, disc, make_object):
    drawn = draw_overlay(grey, result_of([make_object("cup", 1, disc)]))
    assert (grey == 100).all()
    inside = cv2.erode(disc.astype(np.uint8), np.ones((9, 9))).astype(bool)
    expected = 100 * 0.55 + np.array(colour_of(1)) * 0.45
    assert np.abs(drawn[inside] - expected).max() <= 1
    touched = (drawn != 100).any(axis=2)
    rows, columns = np.nonzero(touched)
    assert 160 <= rows.max() <= 162
    assert 98 <= columns.min() <= columns.max() <= 202
    assert 60 - 20 <= rows.min() < 60  # the name is above the box


def test_outline_is_the_full_colour(grey, disc, make_object):
    drawn = draw_overlay(grey, result_of([make_object("cup", 3, disc)]))
    assert tuple(drawn[110, 200]) == colour_of(3)


def test_hidden_objects_are_listed_in_the_corner(grey, make_object):
    nothing = np.zeros((200, 300), bool)
    one = draw_overlay(grey, result_of([make_object("cup", 1, nothing, ObjectState.OCCLUDED)]))
    two = draw_overlay(
        grey,
        result_of(
            [
                make_object("cup", 1, nothing, ObjectState.OCCLUDED),
                make_object("box", 2, nothing, ObjectState.LOST, age_s=3.0),
            ]
        ),
    )
    rows_one = np.nonzero((one != 100).any(axis=2))[0]
    rows_two = np.nonzero((two != 100).any(axis=2))[0]
    assert rows_one.min() > 150
    assert rows_two.min() < rows_one.min()
    assert not (one[:100] != 100).any()


def test_names_stay_inside_the_frame(make_object):
    mask = np.zeros((60, 80), bool)
    mask[:5, 70:] = True  # the name would begin above the frame and end right of it
    drawn = draw_overlay(
        np.full((60, 80, 3), 100, np.uint8), result_of([make_object("a_rather_long_name", 1, mask)], 60, 80)
    )
    assert (drawn[:20, :60] != 100).any()


def test_a_result_of_another_size_is_refused(grey):
    with pytest.raises(ValueError, match=r"\(200, 300, 3\) does not fit a result of 100x300x3"):
        draw_overlay(grey, result_of([], 100))


@pytest.mark.parametrize(("height_px", "width_px"), [(48, 64), (47, 63), (180, 321)])
def test_a_written_video_has_every_frame(tmp_path, height_px, width_px):
    path = tmp_path / "overlay.mp4"
    writer = VideoWriter(path, 25.0)
    for index in range(12):
        writer.write(np.full((height_px, width_px, 3), (20 * index, 60, 200), np.uint8))
    assert not path.exists()
    writer.close()
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == writer.frames == 12
    assert capture.get(cv2.CAP_PROP_FPS) == 25.0
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 12
    assert frames[0].shape == (height_px // 2 * 2, width_px // 2 * 2, 3)
    assert np.abs(frames[6].mean(axis=(0, 1)) - (200, 60, 120)).max() < 8  # BGR
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "fps", [0.001, 0.5, 7.5, 23.976, 23.999999808, 29.97002997, 59.94, 66.66667, 99.9988, 239.7, 1e6]
)
def test_any_rate_gives_a_video(tmp_path, fps, caplog):
    with caplog.at_level(logging.WARNING):
        writer = VideoWriter(tmp_path / "overlay.mp4", fps)
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.close()
    capture = cv2.VideoCapture(str(tmp_path / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(container_fps(fps), rel=2e-3)
    assert bool(caplog.records) == (fps in (0.001, 1e6))


def test_frames_of_another_size_are_scaled_not_lost(tmp_path):
    writer = VideoWriter(tmp_path / "overlay.mp4", 10)
    for size in ((48, 64), (96, 128), (48, 64)):
        writer.write(np.full((*size, 3), 200, np.uint8))
    writer.close()
    assert cv2.VideoCapture(str(tmp_path / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_a_codec_that_fails_is_reported(tmp_path):
    writer = VideoWriter(tmp_path / "overlay.mp4", 10, fourcc="zzzz")
    with pytest.raises(
        UserError, match=r"overlay.mp4' \(zzzz, 10 fps\) cannot be written: OpenCV opened no encoder"
    ):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_reported(tmp_path):
    writer = VideoWriter(tmp_path / "nowhere" / "overlay.mp4", 10)
    with pytest.raises(UserError, match="is the folder writable"):
        writer.write(np.zeros((48, 64, 3), np.uint8))


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_invalid_rates_are_refused(tmp_path, fps):
    with pytest.raises(ValueError, match="expected more than 0"):
        VideoWriter(tmp_path / "overlay.mp4", fps)


def test_abort_leaves_nothing(tmp_path):
    writer = VideoWriter(tmp_path / "overlay.mp4", 10)
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.abort()
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_video_truncated_by_a_full_disk_is_removed(small_disk):
    noise = np.random.default_rng(0).integers(0, 255, (20, 240, 320, 3), dtype=np.uint8)
    writer = VideoWriter(small_disk / "clip.mp4", 24.0)
    for image in noise:
        writer.write(image)
    with pytest.raises(OSError, match=r"No space left on device: '.*/clip.mp4'"):
        writer.close()
    assert list(small_disk.iterdir()) == []


def shown(path):
    """Return the frame rate, and the number of the `tone` at each position of a video, from its brightness."""
    capture = cv2.VideoCapture(str(path))
    found = []
    while True:
        ok, image = capture.read()
        if not ok:
            return capture.get(cv2.CAP_PROP_FPS), found
        found.append(round((float(image.mean()) - 20) / 20))


def tone(number):
    return np.full((48, 64, 3), 20 + 20 * number, np.uint8)


@pytest.mark.parametrize(
    ("stamps_s", "fps", "expected"),
    [
        ([0, 0.1, 0.2, 0.3], 10, [0, 1, 2, 3]),
        ([0, 0.1, 0.5, 0.6], 10, [0, 1, 1, 1, 1, 2, 3]),  # a pause
        ([7.0, 7.1, 7.3, 7.4], 10, [0, 1, 1, 2, 3]),  # a damaged frame between
        ([0, 0.12, 0.17, 0.33, 0.38, 0.5], 10, [0, 1, 2, 3, 4, 5]),  # jitter
        ([0, 0.01, 0.02, 0.03, 0.04, 0.3], 10, [0, 1, 3, 5]),  # a burst, faster than the video
        ([5.0, 5.1, 0.0, 0.1], 10, [0, 1, 2, 3]),  # a clip that starts again
        ([0, 0.5, 3600, 3600.5], 2, [0, 1, *[1] * 20, 2, 3]),  # a pause of an hour is shown as 10 s
    ],
)
def test_time_passes_in_a_video_as_in_its_stamps(tmp_path, stamps_s, fps, expected):
    writer = VideoWriter(tmp_path / "overlay.mp4", fps)
    for number, stamp_s in enumerate(stamps_s):
        writer.write(tone(number), stamp_s)
    writer.close()
    assert shown(tmp_path / "overlay.mp4") == (fps, expected)


def test_stamps_of_a_slightly_different_rate_show_nearly_every_frame_and_keep_the_duration(tmp_path):
    writer = VideoWriter(tmp_path / "overlay.mp4", 10.0)
    for number in range(300):
        writer.write(tone(number % 10), number / 9.8)
    writer.close()
    _, found = shown(tmp_path / "overlay.mp4")
    assert len(found) == pytest.approx(300 / 9.8 * 10, abs=1.5)
    assert found[:30] == [number % 10 for number in range(30)]
