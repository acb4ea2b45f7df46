# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros enroll` and `track --enrolled`, end to end: files that can be read again, one line per error."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam2_ros.cli.main import run
from sam2_ros.state.state_file import read_state
from sam2_ros.synthetic.render import Clip, ClipConfig, render_clip

pytestmark = pytest.mark.long
CLIP = ClipConfig(320, 240, 10, objects=2)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return render_clip(3, CLIP)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, clip) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    for index, frame in enumerate(clip.frames):
        cv2.imwrite(str(folder / f"{index:05d}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    for index in (0, 2):
        cv2.imwrite(str(folder.parent / f"mask{index}.png"), clip.masks[index, 0].astype(np.uint8) * 255)
    return folder


@pytest.fixture(scope="module")
def cup(folder) -> Path:
    out = folder.parent / "cup.safetensors"
    images = [str(folder / f"{index:05d}.png") for index in (0, 2)]
    masks = [f"cup@{n}:{folder.parent / f'mask{index}.png'}" for n, index in enumerate((0, 2))]
    assert run(["enroll", *images, "--mask", masks[0], "--mask", masks[1], "-o", str(out)]) == 0
    return out


def test_an_enrolled_object_is_tracked_without_a_prompt(cup, folder, clip, tmp_path, capsys):
    later = tmp_path / "later"
    later.mkdir()
    for index in range(4, CLIP.frames):
        (later / f"{index:05d}.png").symlink_to(folder / f"{index:05d}.png")
    out = tmp_path / "out"
    assert (
        run(
            ["track", str(later), "--enrolled", str(cup), "--out", str(out), "--save", "masks,json", "--json"]
        )
        == 0
    )
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["objects"]["cup"]["frames_visible"] == CLIP.frames - 5
    for index in range(5, CLIP.frames):
        mask = np.array(Image.open(out / "masks" / f"{index:05d}.png")) == 1
        truth = clip.masks[index, 0]
        assert (mask & truth).sum() / (mask | truth).sum() > 0.7


def test_it_is_tracked_beside_a_prompted_one(cup, folder, tmp_path, capsys):
    y, x = np.argwhere(render_clip(3, CLIP).masks[0, 1]).mean(axis=0)
    given = ["--point", f"other@0:{x:.0f},{y:.0f},+", "--enrolled", str(cup), "--save", "json", "--json"]
    assert run(["track", str(folder), *given, "--out", str(tmp_path / "out")]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(summary["objects"]) == {"cup", "other"}


def test_one_image_needs_no_number(folder, tmp_path, capsys):
    out = tmp_path / "box.safetensors"
    assert (
        run(["enroll", str(folder / "00000.png"), "--box", "box:40,40,200,200", "-o", str(out), "--json"])
        == 0
    )
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["id"], summary["images"], summary["bytes"]) == ("box", 1, out.stat().st_size)
    assert read_state(out).ids == ["box"]


def test_errors_are_one_line_and_nothing_is_written(cup, folder, tmp_path, capsys):
    image, out = str(folder / "00000.png"), str(tmp_path / "x.safetensors")
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"weights of somebody else")
    box = ["--box", "a:40,40,200,200"]
    for arguments, words in (
        (["enroll", image, "-o", out], "no prompt"),
        (["enroll", image, *box, "--box", "b:40,40,200,200", "-o", out], "one object"),
        (["enroll", image, image, "--box", "a@0:40,40,200,200", "-o", out], "image 1 has no prompt"),
        (["enroll", image, *box, "-o", str(tmp_path / "x.txt")], "ends in .safetensors"),
        (["enroll", image, *box, "-o", str(other)], "is there and is no state file, which is not replaced"),
        (["enroll", image, *box, "-o", str(tmp_path / "no" / "x.safetensors")], "its folder does not exist"),
        (["track", str(folder), "--enrolled", str(other), "--out", out + ".d"], "not a state file"),
        (["track", str(folder), "--enrolled", str(cup), "--backward", "--out", out + ".d"], "choose one"),
        (
            ["track", str(folder), "--enrolled", str(cup), "--enrolled", str(cup), "--out", out + ".d"],
            "'cup' is in",
        ),
        (
            ["track", str(folder), "--enrolled", str(cup), "--image-size", "256", "--out", out + ".d"],
            "at 256 px",
        ),
    ):
        assert run(arguments) == 2, arguments
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert words in error, (arguments, error)
    assert other.read_bytes() == b"weights of somebody else"
    assert not Path(out).exists()
    assert not list(Path(out + ".d").glob("*"))
