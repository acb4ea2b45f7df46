# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros segment` end to end: files that can be read again, one line per error."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sam2_ros.cli.main import run

CENTRES = {"red": (60, 50), "green": (180, 60)}


def disc(centre: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[:120, :240]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 30**2


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(100, 120, (120, 240, 3), dtype=np.uint8)
    pixels[disc(CENTRES["red"])] = (40, 60, 220)
    pixels[disc(CENTRES["green"])] = (60, 200, 60)
    cv2.imwrite(str(tmp_path / "discs.png"), pixels)
    return tmp_path / "discs.png"


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_boxes_and_clicks_become_masks(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    prompts = ["--box", "red:30,20,90,80", "--box", "green:150,30,210,90", "--point", "green:180,60,+"]
    assert run(["segment", str(image), *prompts, "--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary == json.loads((out / "summary.json").read_text())
    assert (summary["masks"], summary["width"], summary["height"]) == (2, 240, 120)
    labels = np.array(Image.open(out / "labels.png"))  # palette indices
    overlay = cv2.imread(str(out / "overlay.png"))
    assert overlay.shape == (120, 240, 3)
    for number, record in enumerate(json.loads((out / "masks.json").read_text()), start=1):
        truth = disc(CENTRES[record["id"]])
        mask = coco.decode(record["segmentation"]).astype(bool)
        assert overlap(mask, truth) > 0.7
        assert record["area"] == mask.sum()
        assert ((labels > 0) & truth).sum() > 0.7 * truth.sum()
        assert (labels[mask] == number).mean() > 0.9
        assert np.abs(overlay[mask].astype(int) - cv2.imread(str(image))[mask]).mean() > 10


def test_everything_finds_all_objects(image: Path, tmp_path: Path) -> None:
    grid = ["--points-per-side", "10", "--pred-iou-thresh", "0.5", "--stability-score-thresh", "0.7"]
    assert run(["segment", str(image), "--everything", *grid, "--out", str(tmp_path / "out")]) == 0
    masks = [
        coco.decode(record["segmentation"]).astype(bool)
        for record in json.loads((tmp_path / "out" / "masks.json").read_text())
    ]
    for centre in CENTRES.values():
        assert max(overlap(mask, disc(centre)) for mask in masks) > 0.6


def test_nothing_found_says_what_to_change(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = ["--everything", "--points-per-side", "2", "--pred-iou-thresh", "1.0"]
    assert run(["segment", str(image), *strict, "--out", str(tmp_path / "out")]) == 0
    assert "--pred-iou-thresh" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "masks.json").read_text()) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "nothing to segment"),
        (["--everything", "--box", "red:30,20,90,80"], "choose one"),
        (["--box", "red:500,20,590,80"], "outside the image"),
        (["--box", "red:30,20,30,80"], "no area"),
        (["--point", "red:nan,20,+"], "not finite"),
        (["--box", "red@0:30,20,90,80"], "expected ID:x0,y0,x1,y1"),
        (["--everything", "--points-per-side", "0"], "points-per-side"),
    ],
)
def test_one_line_says_what_is_wrong(
    arguments: list[str], expected: str, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["segment", str(image), *arguments, "--out", str(out)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert expected in lines[0]
    assert not out.exists()


def test_a_file_that_is_no_image_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.png").write_text("this is not an image")
    assert run(["segment", str(tmp_path / "text.png"), "--everything", "--out", str(tmp_path / "out")]) == 2
    assert "not a readable image" in capsys.readouterr().err


def test_a_photograph_is_segmented_upright_as_viewers_show_it(image: Path, tmp_path: Path) -> None:
    upright = np.asarray(Image.open(image))
    exif = Image.Exif()
    exif[0x112] = 6
    phone = tmp_path / "phone.jpg"
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(phone, exif=exif, quality=95)
    assert run(["segment", str(phone), "--box", "red:30,20,90,80", "--out", str(tmp_path / "out")]) == 0
    labels = np.array(Image.open(tmp_path / "out" / "labels.png"))
    assert overlap(labels > 0, disc(CENTRES["red"])) > 0.7
    overlay = cv2.imread(str(tmp_path / "out" / "overlay.png"))
    assert overlay.shape == (120, 240, 3)


def test_a_range_shows_objects_that_the_high_byte_hides(
    image: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grey = cv2.imread(str(image))[..., 2].astype(np.uint16)
    thermal = tmp_path / "thermal.png"
    cv2.imwrite(str(thermal), 7000 + grey * 8)
    arguments = ["segment", str(thermal), "--box", "red:30,20,90,80", "--out", str(tmp_path / "out")]
    assert run([*arguments, "--range", "percentiles"]) == 0
    labels = np.array(Image.open(tmp_path / "out" / "labels.png"))
    assert overlap(labels > 0, disc(CENTRES["red"])) > 0.7
    assert "grey values" not in caplog.text
    assert run(arguments) == 0
    assert "of the 256 grey values" in caplog.text
    assert "--range percentiles" in caplog.text


def test_a_range_that_cannot_be_read_is_one_line(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["segment", str(image), "--box", "a:0,0,9,9", "--out", str(out), "--range", "9,7"]) == 2
    assert capsys.readouterr().err.strip() == (
        "sam2-ros: range '9,7' cannot be read: expected full, percentiles or LOW,HIGH such as 7000,9000, "
        "the values that become black and white"
    )
    assert not out.exists()
