# SPDX-License-Identifier: Apache-2.0
"""The tabletop demo: its numbers from made-up trials, and two live trials where everything for them is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from sam2_ros.errors import UserError
from sam2_ros.eval.tabletop import TabletopConfig, run_tabletop, tabletop_numbers
from sam2_ros.live.player import fastdds_profile
from sam2_ros.live.tabletop import missing_for_tabletop
from sam2_ros.weights.open_model import ModelOptions

NODE = (sys.executable, "-m", "sam2_ros.node.node")
MISSING = missing_for_tabletop()


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


@pytest.mark.live
@pytest.mark.long
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_a_node_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    node = (sys.executable, "-c", "raise SystemExit('no more memory')")
    with pytest.raises(UserError, match="the node ended with exit status 1") as error:
        run_tabletop(TabletopConfig(tmp_path / "out", node, profiles_file=fastdds_profile()))
    assert "no more memory" in str(error.value)
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.alone
@pytest.mark.live
@pytest.mark.long
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_two_live_trials_lift_both_things_and_leave_report_and_video(tmp_path: Path) -> None:
    config = TabletopConfig(
        tmp_path,
        NODE,
        ModelOptions(device="cpu"),
        profiles_file=fastdds_profile(),
        trials=2,
        moving_camera=True,
    )
    summary = run_tabletop(config)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["grasped"] == 2, (tmp_path / "simulator.log").read_text()
    assert summary["position_error_mm"]["p95"] < 20
    assert summary["mean_iou"] > 0.7
    trials = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [one["scenario"] for one in trials] == ["still", "pushed"]
    frames = int(cv2.VideoCapture(str(tmp_path / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT))
    assert frames == sum(len(one["images"]) for one in trials)
    report = (tmp_path / "report.html").read_text()
    assert report.count("<img") == 6  # three moments of each
    assert "2/2" in report
    assert (tmp_path / "node.log").is_file()
