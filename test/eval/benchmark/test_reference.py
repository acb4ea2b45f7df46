# SPDX-License-Identifier: Apache-2.0
"""Compares J, F and decay with the DAVIS benchmark's own tool, if it is installed.

Uses its classes (davis2017-evaluation, package `davis2017`); docs/how-to/evaluate.md explains how to run it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from vos_layouts import write_frames, write_masks

from sam2_ros.cli.main import run
from sam2_ros.synthetic.clip import ClipConfig
from sam2_ros.synthetic.render import render_clip

AGREE_POINTS = 0.01


def test_scores_are_those_of_the_benchmarks_tool(tmp_path: Path) -> None:
    pytest.importorskip(
        "davis2017", reason="davis2017-evaluation is not installed; docs/how-to/evaluate.md says how"
    )
    from davis2017.evaluation import DAVISEvaluation

    root, out = tmp_path / "DAVIS", tmp_path / "out"
    for seed in (1, 2):
        config = ClipConfig(
            height_px=120, width_px=160, frames=20, objects=2, distractors=0, size_range=(0.3, 0.4), degrade=0,
            hide_probability=float(seed == 2),
        )  # fmt: skip
        clip = render_clip(seed, config)
        labels = {
            index: np.uint16(1) * first + second * 2 for index, (first, second) in enumerate(clip.masks)
        }
        write_frames(root / "JPEGImages" / "480p" / f"clip{seed}", list(clip.frames))
        write_masks(root / "Annotations" / "480p" / f"clip{seed}", labels)
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("clip1\nclip2\n")
    arguments = ("--split", "val", "--prompt", "mask", "--image-size", "256", "--out", str(out))
    assert run(["eval", str(root), *arguments]) == 0
    found = json.loads((out / "summary.json").read_text())["objects"]["model"]
    theirs = DAVISEvaluation(str(root), "semi-supervised", "val").evaluate(str(out))
    for key in ("J", "F"):
        names = list(theirs[key]["M_per_object"])
        ours = {f"{clip}_{name}": one for clip, objects in found.items() for name, one in objects.items()}
        assert set(names) == set(ours)
        for name, mean, decay in zip(
            names, theirs[key]["M_per_object"].values(), theirs[key]["D"], strict=True
        ):
            assert ours[name][key] == pytest.approx(100 * mean, abs=AGREE_POINTS)
            assert ours[name][f"{key}_decay"] == pytest.approx(100 * decay, abs=AGREE_POINTS)
