# SPDX-License-Identifier: Apache-2.0
"""Tracking through real-world sources: damaged videos, variable frame rates, folders with stamps as file names."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from damaged_videos import damage, set_times

from sam2_ros.engine import Prompt
from sam2_ros.media.bag.storage import BagReader
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.results import OBJECTS_TOPIC
from sam2_ros.offline.track import TrackConfig, run_track
from sam2_ros.weights.open_model import ModelOptions

SIZE, RADIUS = 96, 14
PROMPT = {0: [Prompt("disc", box=(20 - RADIUS, 48 - RADIUS, 20 + RADIUS, 48 + RADIUS))]}


def picture(index: int) -> np.ndarray:
    """Draw a red disc that moves to the right by 3 px per frame, [96, 96, 3] BGR."""
    image = np.random.default_rng(0).integers(90, 130, (SIZE, SIZE, 3), dtype=np.uint8)
    cv2.circle(image, (20 + 3 * index, 48), RADIUS, (30, 40, 220), -1)
    return image


def video(path: Path, frames: int, fourcc: str) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), 25.0, (SIZE, SIZE))
    for index in range(frames):
        writer.write(picture(index))
    writer.release()
    return path


def tracked(source: Path, out: Path, **options: object) -> tuple[dict, list[dict]]:
    summary = run_track(
        TrackConfig(source, out, PROMPT, model_options=ModelOptions(device="cpu", image_size=256), **options)
    )
    return summary, json.loads((out / "objects.json").read_text())


def overlay(out: Path) -> tuple[int, float]:
    capture = cv2.VideoCapture(str(out / "overlay.mp4"))
    return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)


def recorded_ns(out: Path) -> list[int]:
    with BagReader(out / "tracked") as reader:
        return [raw.stamp_ns for raw in reader.raw_messages([OBJECTS_TOPIC])]


def test_a_damaged_frame_is_skipped_and_listed_in_the_summary(tmp_path, caplog):
    source = video(tmp_path / "clip.avi", 16, "MJPG")
    damage(source, [5, 15])
    with caplog.at_level(logging.WARNING):
        summary, records = tracked(source, tmp_path / "out", backward=True)
    good = [index for index in range(16) if index not in (5, 15)]
    assert (summary["frames"], summary["frames_missing"], summary["missing"]) == (14, 2, [5, 15])
    assert [record["frame"] for record in records] == good
    assert [record["stamp"] for record in records] == pytest.approx([index / 25 for index in good])
    assert recorded_ns(tmp_path / "out") == [index * 40_000_000 for index in good]
    for record in records:  # the disc is at its position in that frame
        assert record["objects"][0]["centroid"][0] == pytest.approx(20 + 3 * record["frame"], abs=4)
    assert sorted(path.stem for path in (tmp_path / "out/masks").iterdir()) == [f"{i:05d}" for i in good]
    assert overlay(tmp_path / "out") == (15, 25.0)  # frame 4 is repeated for frame 5
    assert sum("do not decode" in record.message for record in caplog.records) == 1


def test_stamps_of_a_variable_frame_rate_are_in_all_results(tmp_path):
    times_ms = [0, 40, 80, 1000, 1040, 1500, 1540]
    source = video(tmp_path / "clip.mp4", len(times_ms), "mp4v")
    set_times(source, times_ms)
    summary, records = tracked(source, tmp_path / "out")
    assert [round(1000 * record["stamp"]) for record in records] == times_ms
    assert recorded_ns(tmp_path / "out") == [time_ms * 1_000_000 for time_ms in times_ms]
    frames, fps = overlay(tmp_path / "out")
    assert fps == summary["source_fps"] == pytest.approx(25.0)
    assert frames / fps == pytest.approx(1.58, abs=0.05)


def test_masks_of_a_folder_are_named_after_its_frames_and_stamps_are_kept(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    stamps = (
        "1700000000.0",
        "1700000000.1",
        "1700000000.1333",
        "1700000000.2",
        "1700000000.25",
        "1700000000.3",
    )
    for index, stamp in enumerate(stamps):
        cv2.imwrite(str(folder / f"{stamp}.png"), picture(index))
    summary, records = tracked(folder, tmp_path / "out")
    assert [record["name"] for record in records] == [f"{stamp}.png" for stamp in stamps]
    assert [record["stamp"] for record in records] == [float(stamp) for stamp in stamps]
    assert recorded_ns(tmp_path / "out")[2] == 1_700_000_000_133_300_000
    centres = [record["objects"][0]["centroid"][0] for record in records]
    assert centres == sorted(centres)
    assert sorted(path.name for path in (tmp_path / "out/masks").iterdir()) == sorted(
        f"{s}.png" for s in stamps
    )
    for index, stamp in enumerate(stamps):
        mask = cv2.imread(str(tmp_path / f"out/masks/{stamp}.png"), cv2.IMREAD_COLOR).any(axis=2)
        assert np.nonzero(mask)[1].mean() == pytest.approx(20 + 3 * index, abs=4)
    assert summary["missing"] == []


def test_frames_among_their_masks_are_chosen_by_a_pattern(tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    for index in range(5):
        cv2.imwrite(str(folder / f"{index:05d}.jpg"), picture(index))
        cv2.imwrite(str(folder / f"{index:05d}.png"), np.zeros((SIZE, SIZE), np.uint8))
    with pytest.raises(SourceError, match=r"--glob '\*.jpg'"):
        tracked(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    summary, records = tracked(folder, tmp_path / "out", glob="*.jpg", fps=10.0)
    assert [len(record["objects"]) for record in records] == [1] * 5
    assert [record["stamp"] for record in records] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert (summary["frames"], summary["source_fps"]) == (5, 10.0)


def test_files_with_one_stem_have_a_mask_each(tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    for index in range(2):
        for suffix in ("jpg", "png"):
            cv2.imwrite(str(folder / f"{index}.{suffix}"), picture(index))
    tracked(folder, tmp_path / "out", glob="*", save=("masks", "json"))
    assert sorted(path.name for path in (tmp_path / "out/masks").iterdir()) == [
        "0.png",
        "0.png.png",
        "1.png",
        "1.png.png",
    ]
