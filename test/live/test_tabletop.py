# SPDX-License-Identifier: Apache-2.0
"""The tabletop demo with the live node: two trials from the box to the lifted thing, and a node that ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import pytest

pytest.importorskip("pybullet", reason="needs pybullet: pip install 'sam2_ros[sim]'")
pytest.importorskip("tf2_ros", reason="needs tf2_ros, tf2_msgs and message_filters of a ROS installation")

from sam2_ros.errors import UserError
from sam2_ros.eval.tabletop import TabletopConfig, run_tabletop
from sam2_ros.live.player import fastdds_profile
from sam2_ros.live.tabletop import missing_for_tabletop
from sam2_ros.weights.open_model import ModelOptions

NODE = (sys.executable, "-m", "sam2_ros.node.node")
MISSING = missing_for_tabletop()

pytestmark = [
    pytest.mark.alone,
    pytest.mark.live,
    pytest.mark.long,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]


def test_a_node_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    node = (sys.executable, "-c", "raise SystemExit('no more memory')")
    with pytest.raises(UserError, match="the node ended with exit status 1") as error:
        run_tabletop(TabletopConfig(tmp_path / "out", node, profiles_file=fastdds_profile()))
    assert "no more memory" in str(error.value)
    assert not (tmp_path / "out" / "summary.json").exists()


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
