# SPDX-License-Identifier: Apache-2.0
"""`--out` end to end: only files of an earlier run are replaced, whatever the command and the names in files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from started_processes import WAIT_S, wait_for
from vos_layouts import labels_of, write_sequence

from sam2_ros.cli.main import run

pytestmark = pytest.mark.long

QUICK = ("--image-size", "64")
BOX = ("--box", "cup@0:20,30,45,60")


def picture(number: int) -> np.ndarray:
    image = np.full((96, 128, 3), 60, np.uint8)
    cv2.rectangle(image, (20 + number % 80, 30), (45 + number % 80, 60), (0, 200, 255), -1)
    return image


def write_frames(folder: Path, count: int = 4) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:05d}.png"), picture(number))
    return folder


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return write_frames(tmp_path / "frames")


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "long.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (128, 96))
    for number in range(90):
        writer.write(picture(number))
    writer.release()
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: object) -> str:
    """The one line of a command that changes nothing in `folder`."""
    before = everything(folder)
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == 2
    assert everything(folder) == before
    *notes, line = capsys.readouterr().err.splitlines()
    assert all(note.startswith("No live ROS 2 node") for note in notes)
    return line


@pytest.mark.parametrize(
    "theirs", ["masks/00000.png", "overlay.mp4", "summary.json", ".partial/mine.txt", "notes.txt"]
)
def test_track_refuses_a_folder_with_files_of_the_users(
    frames: Path, tmp_path: Path, theirs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / theirs).parent.mkdir(parents=True)
    (out / theirs).write_bytes(b"precious")
    said = refused(capsys, tmp_path, "track", frames, "--out", out, *BOX, *QUICK)
    assert f"--out {out} is not empty, and no earlier run wrote what is in it" in said


def test_overwrite_writes_masks_beside_frames_and_later_runs_do_not_need_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "kitchen"
    frames = write_frames(out / "frames")
    before = everything(out)
    command = ["track", str(frames), "--out", str(out), *BOX, *QUICK, "--save", "masks"]
    assert run([*command, "--overwrite"]) == 0
    assert run(command) == 0
    assert before.items() <= everything(out).items()
    assert len(list((out / "masks").iterdir())) == 4
    corrected = (out / "masks" / "00002.png").read_bytes() + b" by hand"
    (out / "masks" / "00002.png").write_bytes(corrected)
    assert "00002.png' was changed since an earlier run wrote it" in refused(capsys, tmp_path, *command)


def test_the_source_and_prompts_are_never_replaced(
    long_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    frames = write_frames(out / "masks")
    shutil.copy(long_clip, out / "overlay.mp4")
    at = ("--out", out, *BOX, *QUICK, "--overwrite")
    assert "lies in" in refused(capsys, tmp_path, "track", frames, *at)
    assert "lies in" in refused(capsys, tmp_path, "track", out / "overlay.mp4", *at)
    (tmp_path / "link").symlink_to(frames)
    assert "lies in" in refused(capsys, tmp_path, "track", tmp_path / "link", *at)
    assert "is the source itself" in refused(capsys, tmp_path, "track", frames, "--out", frames, *BOX, *QUICK)
    # An earlier answer as the next prompt.
    other = write_frames(tmp_path / "frames")
    earlier = tmp_path / "earlier"
    assert run(["track", str(other), "--out", str(earlier), *BOX, *QUICK]) == 0
    mask = f"cup@0:{earlier}/masks/00000.png"
    assert "the prompt file" in refused(
        capsys, tmp_path, "track", other, "--out", earlier, "--mask", mask, *QUICK
    )
    assert (
        run(["segment", str(other / "00000.png"), "--out", str(out / "one"), "--box", "c:0,0,9,9", *QUICK])
        == 0
    )
    again = ("segment", out / "one" / "overlay.png", "--out", out / "one", "--box", "c:0,0,9,9", *QUICK)
    assert "the image" in refused(capsys, tmp_path, *again)


def test_segment_demo_and_export_refuse_a_folder_of_the_users(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "camera").mkdir(parents=True)
    (out / "camera" / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    (out / "camera" / "camera_0.mcap").write_bytes(b"precious")
    for command in (
        ("segment", frames / "00000.png", "--box", "c:20,30,45,60", *QUICK),
        ("demo", "--direct", "--frames", "2", *QUICK),
    ):
        assert "is not empty" in refused(capsys, tmp_path, *command, "--out", out)[-400:]
    said = refused(capsys, tmp_path, "demo", "--direct", "--frames", "2", *QUICK, "--out", out, "--overwrite")
    assert "camera' was written by no earlier run" in said
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert "is not empty" in refused(capsys, tmp_path, "export", "nano", "--out", out, "--image-size", "96")


@pytest.mark.parametrize("name", ["..", ".", "../frames", "/", "a\0b", ".partial", "summary.json"])
def test_names_in_a_split_list_never_leave_the_folder(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A set in which such a name leads to frames and masks: `JPEGImages/..` contains them too."""
    data, out = tmp_path / "set", tmp_path / "home" / "out"
    labels = dict.fromkeys(range(4), labels_of((1, 5, 5)))
    images = [np.zeros((40, 60, 3), np.uint8)] * 4
    write_sequence(tmp_path / "one", images, labels)
    for place in ("JPEGImages", "JPEGImages/good", ".", "JPEGImages/.partial", "JPEGImages/summary.json"):
        shutil.copytree(tmp_path / "one" / "frames", data / place, dirs_exist_ok=True)
    for place in ("Annotations", "Annotations/good", "Annotations/.partial", "Annotations/summary.json"):
        shutil.copytree(tmp_path / "one" / "masks", data / place, dirs_exist_ok=True)
    (data / "ImageSets").mkdir()
    (data / "ImageSets" / "val.txt").write_text(f"good\n{name}\n")
    out.mkdir(parents=True)
    (out.parent / "photo.png").write_bytes(b"precious")
    (out.parent / "00000.png").write_bytes(b"precious")
    command = [
        "eval",
        str(data),
        "--prompt",
        "mask",
        "--split",
        "val",
        "--out",
        str(out),
        "--image-size",
        "64",
    ]
    assert run([*command, "--json"]) == 1
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(report["sequences"]) == ["good"]
    (line,) = report["failed"].values()
    assert "\n" not in line
    assert sorted(path.name for path in out.parent.iterdir()) == ["00000.png", "out", "photo.png"]
    assert (out.parent / "00000.png").read_bytes() == b"precious"
    assert sorted(path.name for path in out.iterdir()) == [
        ".sam2_ros.json",
        "good",
        "report.html",
        "summary.json",
    ]


def test_eval_keeps_an_earlier_result_until_the_new_one_is_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    labels = dict.fromkeys(range(4), labels_of((1, 5, 5)))
    for name in ("a", "b"):
        write_sequence(tmp_path / "set" / name, [np.zeros((40, 60, 3), np.uint8)] * 4, labels)
    command = ["eval", str(tmp_path / "set"), "--out", str(out), "--image-size", "64"]
    assert run([*command, "--prompt", "mask"]) == 0
    before = everything(out)
    process = started(*command, "--prompt", "box")
    wait_for(lambda: (out / ".partial" / "a" / "result.json").exists(), process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=WAIT_S)
    assert before.items() <= everything(out).items()
    capsys.readouterr()
    assert run([*command, "--prompt", "box"]) == 0
    assert "1 of 2 sequences are complete" in capsys.readouterr().err or len(before) == len(everything(out))
    assert json.loads((out / "summary.json").read_text())["prompt"] == "box"
    assert not (out / ".partial").exists()
    (out / "a" / "00001.png").write_bytes(b"corrected by hand")
    said = refused(capsys, out, *command, "--prompt", "mask")
    assert "00001.png' was changed since an earlier run wrote it" in said


def test_photographs_with_equal_or_unsafe_names_get_separate_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "set", tmp_path / "home" / "out"
    names = ["x/one.png", "y/one.png", "z/...png", "z/summary.json.png"]
    images, annotations = [], []
    for number, name in enumerate(names):
        (data / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(data / "images" / name), picture(number))
        images.append({"id": number, "file_name": name, "height": 96, "width": 128})
        annotations.append({"image_id": number, "segmentation": [[10, 10, 60, 10, 60, 60, 10, 60]]})
    (data / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    assert run(["eval", str(data), "--prompt", "box", "--out", str(out), *QUICK]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    folders = [path for path in out.iterdir() if path.is_dir()]
    assert len(folders) == len(names)
    assert all((folder / "labels.png").is_file() for folder in folders)
    assert (out / "summary.json").is_file()


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/tmp", ".hidden", "a\\nb", "summary.json"])
def test_names_in_a_list_of_bags_never_leave_the_folder(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bags.yaml").write_text(f'- {{bag: x, prompts: y.json, name: "{name}"}}\n')
    said = refused(capsys, tmp_path, "replay", tmp_path / "bags.yaml", "--direct", "--out", tmp_path / "out")
    assert "a valid folder name expected" in said


def test_a_bag_whose_name_is_no_text_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bags.json").write_text('[{"bag": "a\\ud800", "prompts": "y.json", "name": "one"}]')
    said = refused(capsys, tmp_path, "replay", tmp_path / "bags.json", "--direct", "--out", tmp_path / "out")
    assert "is not UTF-8" in said


def started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sam2_ros.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_earlier_result_survives_every_signal_and_the_next_run_clears_up(
    long_clip: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    command = ["track", str(long_clip), "--out", str(out), *BOX, *QUICK]
    assert run([*command, "--save", "json"]) == 0
    before = everything(out)
    later = (
        "--box",
        "late@80:0,0,20,20",
        "--backward",
    )  # results of backward tracking are stored in files first
    scratch = out / ".partial" / ".scratch"
    process = started(*command, *later)
    wait_for(lambda: any(scratch.rglob("*.objects")), process)
    process.send_signal(number)
    _, error = process.communicate(timeout=WAIT_S)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in error
    assert before.items() <= everything(out).items()
    assert (out / ".partial").exists() == (number == signal.SIGKILL)
    assert run([*command, "--save", "json"]) == 0
    assert everything(out).keys() == before.keys()


def test_a_full_disk_is_reported_with_the_remedy_and_the_earlier_result_stays(
    frames: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = small_disk / "out"
    track = ["track", str(frames), *BOX, *QUICK, "--out", str(out), "--save"]
    assert run([*track, "json"]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    capsys.readouterr()
    assert run([*track, "json,masks"]) in (1, 2)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    os.truncate(filler, filler.stat().st_size - 3 * 4096)  # the run can begin
    assert run([*track, "masks,bag"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "No space left on device; free some space and give the same command again" in said[0]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    filler.unlink()
    assert run([*track, "json"]) == 0
