# SPDX-License-Identifier: Apache-2.0
"""Absurd names, numbers and files: one line and an exit status, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_ros.cli.main import run

BAD = os.fsdecode(b"c\xff")
BOX = ("--box", "cup@0:20,30,45,60")
SMALL = ("--image-size", "128", "--device", "cpu")


def picture(index: int = 0) -> np.ndarray:
    image = np.full((96, 128, 3), 60, np.uint8)
    cv2.rectangle(image, (20 + 3 * index, 30), (45 + 3 * index, 60), (0, 200, 255), -1)
    return image


def write(path: str, image: np.ndarray) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(cv2.imencode(".png", image)[1].tobytes())


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    for index in range(2):
        write(f"{tmp_path}/frames/{index}.png", picture(index))
    return tmp_path / "frames"


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit status and standard error of one command line."""
    status = run([str(argument) for argument in arguments])
    return status, capsys.readouterr().err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a command that ends with status 2."""
    status, err = said(capsys, *arguments)
    assert status == 2, err
    assert err.startswith("sam2-ros: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    err.encode()
    return err


def test_an_id_of_bytes_that_are_no_utf_8_is_one_line_in_a_process_of_its_own(frames: Path) -> None:
    command = [sys.executable, "-m", "sam2_ros.cli", "track", str(frames), "--out", f"{frames}/../out"]
    ended = subprocess.run(
        [*command, "--box", b"c\xff@0:20,30,45,60"], capture_output=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        b"sam2-ros: argument 'c\\xff@0:20,30,45,60' is not UTF-8: expected text in UTF-8; rename the file, or choose "
        b"another name\n"
    )


def test_arguments_that_are_no_text_are_refused(frames: Path, tmp_path: Path, capsys) -> None:
    for arguments in (
        ("track", f"{tmp_path}/{BAD}", *BOX, "--out", tmp_path / "o"),
        ("track", frames, *BOX, "--out", f"{tmp_path}/{BAD}"),
        ("track", frames, "--mask", f"cup@0:{BAD}.png", "--out", tmp_path / "o"),
        ("segment", frames / "0.png", "--box", f"{BAD}:1,2,30,40", "--out", tmp_path / "o"),
        ("eval", f"{tmp_path}/{BAD}", "--prompt", "box"),
        ("models", "verify", BAD),
        ("train", f"{BAD}.yaml"),
    ):
        assert r"c\xff" in refused(capsys, *arguments)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "content",
    [
        r'[{"id": "a\ud800", "box": [20, 30, 45, 60]}]',
        r'[{"id": "a", "class_id": "\udfff", "box": [20, 30, 45, 60]}]',
        r'[{"id": "a", "mask": "\ud800.png"}]',
        r'[{"id": "a", "mask": "a\u0000b"}]',
        r'[{"id": "a\u0000", "box": [20, 30, 45, 60]}]',
        r'[{"id": "a", "\ud800": 1}]',
        "[" * 200_000,
        '[{"id": "a", "box": [%s, 1, 2, 3]}]' % ("9" * 400),
        '[{"id": "a", "box": [%s, 1, 2, 3]}]' % ("9" * 5000),
        '[{"id": "a", "box": [NaN, 1, 2, 3]}]',
        '[{"id": "a", "box": [true, 1, 2, 3]}]',
        '[{"id": "a", "box": ["1", "2", "30", "40"]}]',
        '[{"id": "a", "box": [[1], 2, 30, 40]}]',
        '[{"id": "a", "points": [[1, 1, Infinity]]}]',
        '[{"id": "a", "points": [[1, 1, NaN]]}]',
        '[{"id": "a", "points": [[1, 1, %s]]}]' % ("9" * 30),
        '[{"id": "a", "points": [[1, 1, 0.5]]}]',
        '[{"id": "a", "points": 5}]',
        '[{"id": "a", "frame": true, "box": [20, 30, 45, 60]}]',
        '[{"id": "a", "frame": %s, "box": [20, 30, 45, 60]}]' % ("9" * 30),
        '[{"id": "a", "replace": "no", "box": [20, 30, 45, 60]}]',
        '[{"id": null, "box": [20, 30, 45, 60]}]',
        '[{"id": ["a"], "box": [20, 30, 45, 60]}]',
        '[{"id": "a", "truth": %s, "box": [20, 30, 45, 60]}]' % ("9" * 400),
        '[{"id": "a", "box": [20, 30, 45, 60]}, {"id": "a", "box": [20, 30, 45, 61]}]',
        '[{"id": "a", "mask": "."}]',
        '[{"id": "a", "mask": "/dev/zero"}]',
        '[["id", "a"]]',
    ],
)
def test_prompts_with_absurd_content_are_one_line(content: str, frames: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "p.json").write_text(content)
    refused(capsys, "track", frames, "--prompts", tmp_path / "p.json", "--out", tmp_path / "o", *SMALL)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--box", f"cup@{'9' * 5000}:1,2,30,40"),
        ("--box", f"cup@{'9' * 30}:1,2,30,40"),
        ("--box", "cup@٣:1,2,30,40"),
        ("--box", "cup@0:1e400,2,30,40"),
        ("--box", "cup@0:0.1,0.2,0.5,0.6"),
        ("--point", "cup@0:0.5,0.5,+"),
        ("--box", "cup@0:30,30,10,10"),
        ("--mask", "cup@0:/dev/zero"),
        ("--prompts", "/dev/zero"),
        ("--prompts", "/dev/null"),
        (*BOX, "--image-size", "99999999999999999999"),
        (*BOX, "--image-size", "100000"),
        (*BOX, "--device", "[/]"),
        (*BOX, "--topic", "\n"),
        (*BOX, "--model", "x" * 5000),
        (*BOX, "--model", "a\nb"),
    ],
)
def test_options_with_absurd_values_are_one_line(
    arguments: tuple[str, ...], frames: Path, tmp_path, capsys
) -> None:
    refused(capsys, "track", frames, "--out", tmp_path / "o", *arguments)


def test_paths_that_are_not_usable_files_are_one_line(frames: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for source in ("/dev/null", "/dev/zero", tmp_path / "loop", tmp_path / "loop/x", "x" * 5000):
        refused(capsys, "track", source, *BOX, "--out", tmp_path / "o")
    for source in (frames, tmp_path / "loop", "/dev/null", "x" * 5000):
        refused(capsys, "segment", source, "--box", "a:1,2,30,40", "--out", tmp_path / "o")
    for config in (frames, tmp_path / "loop", "/dev/zero", "x" * 5000):
        refused(capsys, "train", config)
    for out in (tmp_path / "loop", "x" * 5000):
        refused(capsys, "track", frames, *BOX, "--out", out, *SMALL)


@pytest.mark.parametrize(
    "arguments",
    [
        ("bench", "--objects", "9" * 5000),
        ("bench", "--camera", "9" * 400 + "x9"),
        ("bench", "--device", "meta"),
        ("soak", "--size", "9" * 5000 + "x9", "--out", "o"),
        ("segment", "a.png", "--everything", "--points-per-side", "100000000", "--out", "o"),
        ("segment", "a.png", "--everything", "--crop-n-layers", "64", "--out", "o"),
    ],
)
def test_numbers_beyond_any_machine_are_one_line(arguments: tuple[str, ...], capsys) -> None:
    refused(capsys, *arguments)


@pytest.mark.parametrize(
    "name", ["[/]", "[red]x[/red]", ":cat:", "$\\frac$", "<b>", "_hidden", "カップ", "🦖", "a\nb"]
)
def test_ids_are_kept_and_shown_as_they_are(name: str, frames: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "[bold]o[/]"
    (tmp_path / "p.json").write_text(json.dumps([{"id": name, "box": [20, 30, 45, 60]}]))
    status = run(["track", str(frames), "--prompts", str(tmp_path / "p.json"), "--out", str(out), *SMALL])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    assert name.replace("\n", r"\n") in captured.out
    (entry,) = json.loads((out / "objects.json").read_text())[0]["objects"]
    assert entry["id"] == name


def test_frames_with_names_that_are_no_utf_8_are_tracked(tmp_path: Path, capsys) -> None:
    for index in range(2):
        write(f"{tmp_path}/frames/{BAD}{index}.png", picture(index))
    assert said(capsys, "track", tmp_path / "frames", *BOX, "--out", tmp_path / "o", *SMALL) == (0, "")
    assert len(json.loads((tmp_path / "o" / "objects.json").read_text())) == 2


def test_sequences_and_objects_of_any_name_are_scored_or_named(tmp_path: Path, capsys) -> None:
    for name in (BAD, "$\\frac$", "[red]x", "_hidden", "カップ"):
        for index in range(4):
            write(f"{tmp_path}/set/{name}/frames/{index}.png", picture(index))
            write(
                f"{tmp_path}/set/{name}/masks/{index}.png", (picture(index)[:, :, 2] > 100).astype(np.uint8)
            )
    command = ("eval", tmp_path / "set", "--prompt", "box", "--out", tmp_path / "o", *SMALL)
    status, err = said(capsys, *command)
    assert status == 1, err
    assert err == (
        rf"c\xff failed: sequence 'c\xff' of '{tmp_path}/set': its name is not UTF-8; rename the folder or file"
        "\n"
    )
    page = (tmp_path / "o" / "report.html").read_text("utf-8")
    for name in ("$\\frac$", "[red]x", "_hidden", "カップ", r"c\xff"):
        assert name in page
    shutil.copytree(f"{tmp_path}/set/_hidden/frames", f"{tmp_path}/own/frames")
    shutil.copytree(f"{tmp_path}/set/_hidden/masks", f"{tmp_path}/own/masks/{BAD}")
    line = refused(capsys, "eval", tmp_path / "own", "--prompt", "box", *SMALL)
    assert r"the name of object 'c\xff' is not UTF-8" in line


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "null",
        '{"runs": 5}',
        '{"runs": {"node": 5}}',
        '{"bags": {}, "means": {}}',
        '{"bags": {"a": 1}, "means": {"direct": {}}, "failed": {}}',
        '{"sequences": 5, "objects": {}}',
        '{"sequences": {}, "objects": {"model": {"a": {"1": {"JF": "x", "J": 1}}}}}',
        '{"sequences": {}, "objects": {"model": {"a": {"1": {"JF": NaN}}}}}',
        '{"sequences": {}, "objects": {"model": {"a": {"1": {"JF": 1}}}}, "failed": 5}',
        '{"sequences": {}, "objects": {"model": {"a": {"1": {"JF": 1}}}}, "fps": "x"}',
    ],
)
def test_files_that_are_not_summaries_cannot_be_compared(content: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "s.json").write_text(content)
    refused(capsys, "compare", tmp_path / "s.json", tmp_path / "s.json")


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (300, 1), (2, 2)])
def test_frames_of_a_pixel_are_tracked_into_a_video_that_opens(size, tmp_path: Path, capsys) -> None:
    for index in range(3):
        write(f"{tmp_path}/frames/{index}.png", np.full((*size, 3), 50 * index, np.uint8))
    arguments = ("--box", "cup@0:0,0,1,1", "--out", tmp_path / "o", *SMALL)
    assert said(capsys, "track", tmp_path / "frames", *arguments) == (0, "")
    capture = cv2.VideoCapture(str(tmp_path / "o" / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    status, _ = said(
        capsys, "segment", tmp_path / "frames/0.png", "--everything", "--points-per-side", "2", "--crop-n-layers", "2",
        "--pred-iou-thresh", "-9", "--stability-score-thresh", "-9", "--out", tmp_path / "s", *SMALL,
    )  # fmt: skip
    assert status == 0
