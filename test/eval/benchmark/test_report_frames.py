# SPDX-License-Identifier: Apache-2.0
"""The report of an evaluation shows the frames and masks that were scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from report_pages import check

from sam2_ros.datasets.layouts import open_dataset
from sam2_ros.datasets.sequence import FrameTruth, VosSequence
from sam2_ros.eval.benchmark.eval_config import EvalConfig
from sam2_ros.eval.benchmark.evaluate import run_eval
from sam2_ros.eval.benchmark.report_frames import read_frame
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.eval.report.data import read_eval
from sam2_ros.weights.open_model import ModelOptions


def test_the_masks_that_are_shown_have_the_j_of_the_curves(rendered: Path, tmp_path: Path) -> None:
    run_eval(
        EvalConfig(rendered, "box", model_options=ModelOptions(device="cpu", image_size=256), out=tmp_path)
    )
    page = check(tmp_path / "report.html")
    assert page.captions[0].startswith("clip, object ")
    (sequence,) = open_dataset(rendered)
    compared = 0
    for one in read_eval(tmp_path).objects:
        assert one.curve is not None
        for frame, j in zip(one.curve.at, one.curve.j, strict=True):
            scene = read_frame(tmp_path, sequence, int(frame))
            assert scene.image_hw3.shape == (120, 160, 3)
            if j is not None and one.id in scene.truths:
                assert 100 * mask_iou(scene.answers[one.id], scene.truths[one.id]) == pytest.approx(
                    j, abs=0.01
                )
                compared += 1
    assert compared >= 5


def test_a_report_that_cannot_be_written_is_a_note(rendered: Path, tmp_path: Path) -> None:
    def in_the_way(step: str, done: int, total: int | None) -> None:
        if step == "writing the report":
            (tmp_path / ".partial" / ".report.html.partial").mkdir()

    notes: list[str] = []
    config = EvalConfig(
        rendered, "box", model_options=ModelOptions(device="cpu", image_size=256), out=tmp_path
    )
    evaluation = run_eval(config, in_the_way, notes.append)
    assert evaluation.report["JF"] > 0
    assert (tmp_path / "summary.json").exists()
    assert any("report.html' is not written" in note for note in notes)


def test_objects_that_overlap_are_read_from_their_folders(tmp_path: Path) -> None:
    image = np.full((40, 60, 3), 50, np.uint8)
    masks = {"cup": np.zeros((40, 60), bool), "lid": np.zeros((40, 60), bool)}
    masks["cup"][5:30, 5:30], masks["lid"][10:20, 10:40] = True, True
    sequence = VosSequence("kitchen", OneFrame(image), OneTruth(masks), 10.0, overlapping=True)
    for name, mask in masks.items():
        (tmp_path / "kitchen" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "kitchen" / name / "00000.png"), mask[:, ::-1].astype(np.uint8) * 255)
    scene = read_frame(tmp_path, sequence, 0)
    assert (scene.image_hw3 == image).all()
    for name, mask in masks.items():
        assert (scene.answers[name] == mask[:, ::-1]).all()
        assert (scene.truths[name] == mask).all()


@dataclass(frozen=True)
class OneFrame:
    image: np.ndarray
    names: tuple[str, ...] = ("00000",)

    def at(self, index: int) -> np.ndarray:
        return self.image

    def identity(self) -> Iterator[str]:
        yield "one"


@dataclass(frozen=True)
class OneTruth:
    masks: dict[str, np.ndarray]
    indices: tuple[int, ...] = (0,)

    def at(self, index: int) -> FrameTruth:
        return FrameTruth(self.masks, (40, 60))

    def identity(self) -> Iterator[str]:
        yield "one"
