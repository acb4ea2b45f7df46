# SPDX-License-Identifier: Apache-2.0
"""The tabletop demo without a graph: its numbers from made-up trials, and what it says when something is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sam2_ros.errors import UserError
from sam2_ros.eval.tabletop import TabletopConfig, run_tabletop, tabletop_numbers
from sam2_ros.weights.open_model import ModelOptions

NODE = (sys.executable, "-m", "sam2_ros.node.node")


def image(phase: str, visible: bool, error_mm: float | None, iou: float | None = 0.9) -> dict[str, Any]:
    stddev = float("nan") if error_mm == 1.0 else 2.0
    return {
        "phase": phase,
        "visible": visible,
        "error_mm": error_mm,
        "centre_mm": error_mm,
        "stddev_mm": stddev,
        "iou": iou,
    }


def trial(number: int, scenario: str, lifted: bool, images: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "trial": number,
        "seed": 70 + number,
        "scenario": scenario,
        "thing": "cube",
        "lifted": lifted,
        "ended": "done" if lifted else "gave up: LOST",
        "prompt_to_grasp_s": 4.0 if lifted else None,
        "wall_s": 5.0,
        "unanswered": 1,
        "images": images,
    }


def test_the_error_counts_images_before_the_grasp_that_show_the_object():
    good = [
        image("wait", True, 1.0),
        image("approach", True, 3.0),
        image("wait", True, None, None),
        image("wait", False, 50.0),
        image("close", True, 40.0),
        image("lift", True, 60.0),
    ]
    bad = [image("wait", True, 5.0), image("wait", False, None)]
    trials = [trial(0, "still", True, good), trial(1, "hidden", False, bad)]
    numbers = tabletop_numbers(TabletopConfig(Path("out"), NODE, seed=7), ModelOptions(), trials)
    assert (numbers["grasped"], numbers["trials"]) == (1, 2)
    assert numbers["position_error_mm"]["p50"] == 3.0
    assert (numbers["visible_images"], numbers["without_position"]) == (4, 1)
    assert numbers["position_stddev_mm"]["p50"] == 2.0  # the unknown one is left out
    assert numbers["mean_iou"] == pytest.approx(0.9)
    assert numbers["by_scenario"]["still"]["grasped"] == 1
    assert numbers["by_scenario"]["hidden"]["prompt_to_grasp_s"] is None
    assert [failure["ended"] for failure in numbers["failures"]] == ["gave up: LOST"]
    assert "images" not in numbers["per_trial"][0]
    json.dumps(numbers, allow_nan=False)


def test_without_pybullet_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(
        UserError, match=r"pybullet is not installed: run `pip install 'sam2_ros\[sim\]'`"
    ) as error:
        run_tabletop(TabletopConfig(tmp_path / "out", NODE))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
