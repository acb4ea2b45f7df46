# SPDX-License-Identifier: Apache-2.0
"""Every example runs as a user runs it, in a process of its own, and what it leaves is compared with the truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_ros.engine.image_segmenter import ImageSegmenter
from sam2_ros.media.bag.storage import BagReader
from sam2_ros.media.files.video import VideoFrames
from sam2_ros.synthetic.drawing.cutouts import CUTOUTS
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.weights import load_model

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
ROBOT = 1  # of the demo clip's masks


def run(name: str, folder: Path, *options: str) -> str:
    """What the example prints, run in `folder`."""
    command = [sys.executable, str(ROOT / "examples" / name), *options]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def iou(found: np.ndarray, true: np.ndarray) -> float:
    return float((found & true).sum() / (found | true).sum())


def read_mask(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0


def saucer() -> np.ndarray:
    """[400, 600] bool: the cup on its saucer in the photograph of coffee."""
    mask = np.zeros((400, 600), np.uint8)
    (outline,) = [cutout.outline_xy for cutout in CUTOUTS if cutout.file == "coffee.png"]
    cv2.fillPoly(mask, [outline.astype(np.int32)], 1)
    return mask > 0


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_explains_itself(path):
    lines = path.read_text().splitlines()
    assert 20 <= len(lines) <= 80, len(lines)
    assert lines[1].startswith('"""')
    table = (ROOT / "examples" / "README.md").read_text()
    assert f"python examples/{path.name}" in table


@pytest.fixture(scope="module")
def clip():
    return demo_clip(frames=30)


def test_a_box_tracks_an_object_through_a_video(tmp_path, clip):
    printed = run("01_track_video.py", tmp_path)
    assert "30 frames" in printed
    assert printed.count("TRACKING") == 3
    out = tmp_path / "out/examples/01_track_video"
    overlay = list(VideoFrames(out / "overlay.mp4"))
    assert len(overlay) == 30
    drawn = np.abs(overlay[-1].image.astype(int) - clip.frames[-1]).sum(axis=2) > 60
    true = clip.masks[-1, ROBOT]
    assert drawn[true].mean() > 0.8
    x0, y0, x1, y1 = (int(word) for word in printed.splitlines()[2].split("(")[1].split(")")[0].split(","))
    box = np.zeros_like(true)
    box[y0:y1, x0:x1] = True
    rows, columns = np.nonzero(clip.masks[20, ROBOT])
    true_box = np.zeros_like(true)
    true_box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    assert iou(box, true_box) > 0.8


def test_a_click_has_three_answers_one_of_which_is_the_cup(tmp_path):
    printed = run("02_click_an_image.py", tmp_path)
    assert printed.count("predicted IoU") == 3
    out = tmp_path / "out/examples/02_click_an_image"
    assert cv2.imread(str(out / "candidates.png")).shape == (400, 1800, 3)
    assert iou(read_mask(out / "best_mask.png"), saucer()) > 0.7


def test_everything_in_a_photograph_is_coco_and_the_cup_is_among_it(tmp_path):
    from pycocotools import mask as coco

    run("03_segment_everything.py", tmp_path)
    out = tmp_path / "out/examples/03_segment_everything"
    records = json.loads((out / "masks.json").read_text())
    masks = [coco.decode(record["segmentation"]) > 0 for record in records]
    assert len(masks) >= 5
    assert max(iou(mask, saucer()) for mask in masks) > 0.8
    assert cv2.imread(str(out / "everything.png")).shape == (400, 600, 3)
