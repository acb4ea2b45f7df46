# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros eval` on photographs: the scored instances, the compared answers, the written files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam2_ros.cli.main import run
from sam2_ros.datasets.photographs import open_photographs
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.media.annotations import coco_rle
from sam2_ros.media.frame_source import SourceError

HEIGHT, WIDTH = 200, 300


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


RED, GREEN, SMALL = rectangle(30, 40, 150, 160), rectangle(200, 60, 260, 130), rectangle(5, 5, 25, 25)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """One image with a large red object (polygon), a smaller green one (run lengths), a small one and a crowd."""
    pixels = np.random.default_rng(0).integers(100, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[RED], pixels[GREEN], pixels[SMALL] = (40, 60, 220), (60, 200, 60), (220, 220, 40)
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "things.png"), pixels)
    polygon = [[30, 40, 150, 40, 150, 160, 30, 160]]
    crowd = coco_rle(rectangle(0, 0, 300, 200))
    annotations = [
        {"image_id": 7, "segmentation": polygon, "iscrowd": 0},
        {"image_id": 7, "segmentation": coco_rle(GREEN)},
        {"image_id": 7, "segmentation": coco_rle(SMALL)},
        {"image_id": 7, "segmentation": crowd, "iscrowd": 1},
    ]
    images = [{"id": 7, "file_name": "things.png", "height": HEIGHT, "width": WIDTH}]
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return folder


def test_polygons_and_run_lengths_are_read_and_crowds_are_not(photographs: Path) -> None:
    (one,) = open_photographs(photographs)
    red, green, small = one.masks()
    assert mask_iou(red, RED) > 0.97
    np.testing.assert_array_equal(green, GREEN)
    np.testing.assert_array_equal(small, SMALL)
    assert one.image().shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("prompt", ["box", "click1", "click3"])
def test_instances_above_32_px_are_scored(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], prompt: str
) -> None:
    out = tmp_path / "out"
    assert run(["eval", str(photographs), "--prompt", prompt, "--out", str(out), "--json"]) == 0
    *table, line = capsys.readouterr().out.splitlines()
    report = json.loads(line)
    assert (report["photographs"], report["instances"], report["prompt"]) == (1, 2, prompt)
    assert report["IoU"] == pytest.approx((report["IoU_medium"] + report["IoU_large"]) / 2, abs=0.02)
    assert report["IoU"] > 60
    assert f"{report['IoU']:.1f}" in "\n".join(table)
    labels = np.array(Image.open(out / "things" / "labels.png"))
    if prompt != "click1":  # there the masks overlap, and the label image has the smaller one on top
        assert 100 * mask_iou(labels == 1, RED) == pytest.approx(report["IoU_large"], abs=2)
    assert cv2.imread(str(out / "things" / "overlay.png")).shape == (HEIGHT, WIDTH, 3)
    summary = json.loads((out / "summary.json").read_text())
    assert [one["IoU"]["model"] for one in summary["of_instances"]] == [
        report["IoU_large"],
        report["IoU_medium"],
    ]


def test_grabcut_beside_a_box(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", str(photographs), "--prompt", "box", "--baselines", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["baselines"]["grabcut"]["IoU"] > 90  # GrabCut works best with flat colours


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "mask"], "--prompt mask on photographs, one of box, click1"),
        (["--prompt", "click1", "--baselines"], "only grabcut with --prompt box expected"),
        (["--prompt", "box", "--split", "val"], "are for videos"),
        (["--prompt", "box", "--workers", "2"], "--workers, --ray and --fresh are for videos"),
        (["--prompt", "box", "--memory-frames", "4"], "memory frames 4 on photographs, which use no memory"),
    ],
)
def test_options_that_do_not_fit_photographs(
    photographs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["eval", str(photographs), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_photograph_that_cannot_be_decoded_is_skipped(
    photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = photographs / "instances.json"
    record = json.loads(file.read_text())
    record["images"].append({"id": 8, "file_name": "half.png", "height": HEIGHT, "width": WIDTH})
    record["annotations"].append({"image_id": 8, "segmentation": coco_rle(RED)})
    file.write_text(json.dumps(record))
    whole = (photographs / "images" / "things.png").read_bytes()
    (photographs / "images" / "half.png").write_bytes(whole[: len(whole) // 2])
    assert run(["eval", str(photographs), "--prompt", "box", "--json"]) == 1
    said = capsys.readouterr()
    report = json.loads(said.out.splitlines()[-1])
    assert (report["photographs"], report["instances"], list(report["failed"])) == (1, 2, ["half.png"])
    assert "images/half.png' is not a readable image" in said.err
    (photographs / "images" / "things.png").write_bytes(b"no image")
    assert run(["eval", str(photographs), "--prompt", "box"]) == 2
    assert "no photograph of" in capsys.readouterr().err.splitlines()[-1]


def test_an_error_in_a_set_is_reported(photographs: Path) -> None:
    file = photographs / "instances.json"
    record = json.loads(file.read_text())
    record["images"][0]["width"] = 301
    file.write_text(json.dumps(record))
    with pytest.raises(SourceError, match=r"is 300 x 200 px, the 301 x 200 px of instances.json expected"):
        open_photographs(photographs)[0].image()
    (photographs / "images" / "things.png").unlink()
    with pytest.raises(SourceError, match=r"image 'things.png' of .* is not there"):
        open_photographs(photographs)
    file.write_text('{"images": []}')
    with pytest.raises(SourceError, match=r"instances.json' cannot be read \(KeyError"):
        open_photographs(photographs)
    file.write_text('{"images": [], "annotations": []}')
    with pytest.raises(SourceError, match="has no instance"):
        open_photographs(photographs)
