# SPDX-License-Identifier: Apache-2.0
"""The command line end to end: exit status, one line per error, results that can be read again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_ros.cli.main import run
from sam2_ros.eval.recording import read_results
from sam2_ros.media.results import OBJECTS_TOPIC
from sam2_ros.synthetic.clip import Clip, ClipConfig
from sam2_ros.synthetic.render import render_clip

BOX = "thing@0:10,10,60,60"


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render_clip(3, ClipConfig(height_px=96, width_px=128, frames=4, objects=1, hide_probability=0))


@pytest.fixture
def frames(clip: Clip, tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, image in enumerate(clip.frames):
        cv2.imwrite(str(folder / f"{number:05d}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return folder


def truncated_video(folder: Path) -> Path:
    path = folder / "cut.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    for value in range(20):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def wrong_mask(folder: Path) -> str:
    cv2.imwrite(str(folder / "mask.png"), np.tri(10, dtype=np.uint8) * 255)
    return f"thing@0:{folder}/mask.png"


def bad_checkpoint(folder: Path) -> str:
    path = folder / "broken.pt"
    path.write_bytes(b"this is not a checkpoint")
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--box", "thing@0:300,300,400,400"], "outside the image"),
        (["--box", "thing@0:10,10,10,60"], "no area"),
        (["--box", "thing@0:nan,10,50,60"], "not finite"),
        (["--point", "thing@0:500,10,+"], "outside the image"),
        (["--box", "thing@9:10,10,60,60"], "frame 9"),
        (["--box", "thing:10,10,60,60"], "ID@FRAME"),
        (["--mask", "thing@0:missing.png"], "missing.png"),
        (["--prompts", "missing.json"], "missing.json"),
        ([], "no prompt"),
        (["--box", BOX, "--save", "masks,film"], "film"),
        (["--box", BOX, "--model", "gigantic"], "gigantic"),
        (["--box", BOX, "--model", "missing.pt"], "missing.pt"),
        (["--box", BOX, "--policies", "quality,cup:samurai"], "'cup:samurai': expected one of cross-object"),
        (["--box", BOX, "--topic", "/camera"], "/camera"),
        (["--box", BOX, "--nonsense"], "--nonsense"),
    ],
)
def test_bad_arguments_of_track(
    arguments: list[str], expected: str, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(["track", str(frames), "--out", str(tmp_path / "out"), *arguments])
    assert_one_line(status, capsys, expected)
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize("option", ["--mask", "--model"])
def test_bad_files_of_track(
    option: str, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"--mask": (wrong_mask, "10 x 10"), "--model": (bad_checkpoint, "broken.pt")}
    make, expected = made[option]
    arguments = ["track", str(frames), "--out", str(tmp_path / "out"), option, make(tmp_path)]
    assert_one_line(run([*arguments, *(["--box", BOX] if option == "--model" else [])]), capsys, expected)


@pytest.mark.parametrize(
    ("make_source", "expected"),
    [
        (lambda folder: folder / "nowhere.mp4", "nowhere.mp4"),
        (empty_folder, "empty"),
        (truncated_video, "cut.mp4"),
    ],
)
def test_bad_sources_of_track(
    make_source: Callable[[Path], Path], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(["track", str(make_source(tmp_path)), "--out", str(tmp_path / "out"), "--box", BOX])
    assert_one_line(status, capsys, expected)


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "--objects", "one"],
        ["bench", "--camera", "640"],
        ["bench", "--conditioning", "few"],
        ["models", "info", "gigantic"],
    ],
)
def test_bad_arguments_of_other_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_line(run(arguments), capsys, arguments[-1])


def test_demo_reports_a_wrong_model_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--model", "gigantic", "--out", str(tmp_path / "out")]) == 2
    assert "gigantic" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def assert_one_line(status: int, capsys: pytest.CaptureFixture[str], expected: str) -> None:
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert status == 2, captured.err
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("sam2-ros: ")
    assert expected in lines[0]


def test_help_is_status_zero_and_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("demo", "track", "bench", "models"))


def test_the_process_ends_with_the_status_and_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sam2_ros.cli", "track", "nowhere", "--out", str(tmp_path), "--box", BOX]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nowhere" in done.stderr


def test_track_writes_its_files_and_prints_the_summary_last(
    frames: Path, clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, columns = np.nonzero(clip.masks[0, 0])
    box = f"thing@1:{columns.min()},{rows.min()},{columns.max() + 1},{rows.max() + 1}"
    point = f"thing@1:{columns[len(columns) // 2]},{rows[len(rows) // 2]},+"
    out = tmp_path / "out"
    arguments = ["track", str(frames), "--out", str(out), "--box", box, "--point", point, "--json"]
    assert run(arguments) == 0
    summary = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary["frames"] == 4
    assert list(summary["objects"]) == ["thing"]
    assert (summary["model"], summary["source"]) == ("nano", str(frames))

    records = json.loads((out / "objects.json").read_text())
    assert [len(record["objects"]) for record in records] == [0, 1, 1, 1]  # prompted on frame 1
    for record in records:
        labels = cv2.imread(str(out / "masks" / f"{record['frame']:05d}.png"), cv2.IMREAD_COLOR)
        assert labels.shape == (96, 128, 3)
        area_px = sum(entry["area"] for entry in record["objects"])
        assert np.count_nonzero(labels.any(axis=2)) == area_px
    capture = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 4

    frame_by_stamp = {round(record["stamp"] * 1e9): record["frame"] for record in records}
    for record, result in zip(
        records, read_results(out / "tracked", OBJECTS_TOPIC, frame_by_stamp), strict=True
    ):
        assert [(obj.id, int(obj.mask.sum())) for obj in result.objects] == [
            (entry["id"], entry["area"]) for entry in record["objects"]
        ]


def test_track_writes_only_the_requested_results(frames: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(["track", str(frames), "--out", str(out), "--box", BOX, "--save", "json"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [".sam2_ros.json", "objects.json", "summary.json"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--objects", "65"], "numbers from 1 to 64 expected"),
        (["--conditioning", "1,9"], "numbers from 1 to 4 expected"),
        (["--against", "caffe"], "one of official, official-compiled, transformers expected"),
        (["--memory-pooling", "3"], "memory_pooling = 3: expected 1 (exact) or 2"),
    ],
)
def test_what_bench_cannot_time_is_one_line(
    options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line(run(["bench", *options]), capsys, expected)


def test_bench_reports_every_object_count_and_bank(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--objects", "1,2", "--frames", "2", "--camera", "96x64", "--image-size", "128"]
    assert run(["bench", *asked, "--conditioning", "1,4", "--memory-every", "2", "--json"]) == 0
    shown = capsys.readouterr().out.strip().splitlines()
    assert any(line.startswith("Not exact") for line in shown)
    for words in (
        "share of the peak",
        "operations a frame",
        "memory bank MB per object",
        "Memory of 4 prompted",
    ):
        assert any(words in line for line in shown), words
    report = json.loads(shown[-1])
    assert list(report["objects_by_conditioning"]["4"]) == ["1", "2"]
    assert list(report["objects"]) == ["1", "2"]
    for timed in report["objects"].values():
        assert 0 < timed["frame_ms"]["p50"] <= timed["frame_ms"]["p99"]
        assert timed["fps"] > 0
        assert {"encode", "memory_attention", "decode", "memory_write"} <= set(timed["stages_ms"])
    assert (report["camera"], report["image_size"]) == ("96x64", 128)


def test_models_list_shows_the_weights_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.strip().splitlines()[-1])["models"]
    nano = next(entry for entry in listed if entry["name"] == "nano")
    assert nano["path"] is not None
    assert Path(nano["path"]).exists()


def test_a_folder_of_two_kinds_is_refused_with_the_option_that_chooses_one(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(frames.iterdir()):
        cv2.imwrite(str(path.with_suffix(".jpg")), np.zeros((96, 128), np.uint8))
    arguments = ["track", str(frames), "--out", str(tmp_path / "out"), "--box", BOX, "--save", "json"]
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--glob '*.png'" in said
    assert run([*arguments, "--glob", "*.png", "--fps", "5"]) == 0
    records = json.loads((tmp_path / "out" / "objects.json").read_text())
    assert [(record["name"], record["stamp"]) for record in records] == [
        (f"{number:05d}.png", number / 5) for number in range(4)
    ]
