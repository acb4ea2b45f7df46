# SPDX-License-Identifier: Apache-2.0
"""The demo end to end on its first frames: with the live node if ROS is installed, and directly."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sam2_ros.errors import UserError
from sam2_ros.eval.demo import DemoConfig, demo_numbers, run_demo
from sam2_ros.live.player import fastdds_profile, missing_ros
from sam2_ros.media.bag.storage import BagReader
from sam2_ros.media.results import LABEL_TOPIC, OBJECTS_TOPIC
from sam2_ros.weights.open_model import ModelOptions

pytestmark = pytest.mark.long

needs_ros = pytest.mark.skipif(missing_ros() is not None, reason=str(missing_ros()))
FRAMES = 20


def check_outputs(out: Path, summary: dict[str, object]) -> None:
    stored = json.loads((out / "summary.json").read_text())
    assert summary == {key: stored[key] for key in summary}
    (run,) = stored["runs"]  # it is also the summary of a replay
    assert run == ("node" if summary["transport"] == "ros2" else "direct")
    assert stored["bag"] == str(out / "camera")
    assert summary["frames_in"] == FRAMES
    processed = int(str(summary["frames_processed"]))
    assert processed + int(str(summary["dropped"])) == FRAMES
    assert 0.0 <= float(str(summary["mean_iou"])) <= 1.0
    assert summary["false_presence"] is None  # nothing is hidden in the first frames
    with BagReader(out / run / "tracked") as bag:
        counts = {topic.name: topic.count for topic in bag.topics()}
    assert counts[OBJECTS_TOPIC] == processed
    assert counts[LABEL_TOPIC] > 0
    capture = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES
    report = (out / "report.html").read_text()
    pictures = re.findall(r'src="data:image/\w+;base64,([^"]+)"', report)
    assert len(pictures) >= 4
    for picture in pictures:
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        assert decoded.std() > 5
    assert not re.search(r'(src|href)="(?!data:|#)', report)  # no external resources


@pytest.mark.alone
@needs_ros
def test_demo_through_the_live_node(tmp_path: Path) -> None:
    config = DemoConfig(
        tmp_path,
        model_options=ModelOptions(device="cpu"),
        node_command=(sys.executable, "-m", "sam2_ros.node.node"),
        profiles_file=fastdds_profile(),
        frames=FRAMES,
    )
    summary = run_demo(config)
    assert summary["transport"] == "ros2"
    assert summary["node_exit_status"] == 0
    assert int(str(summary["frames_processed"])) >= 2
    check_outputs(tmp_path, summary)


def test_demo_directly_processes_every_frame(tmp_path: Path) -> None:
    summary = run_demo(
        DemoConfig(
            tmp_path, model_options=ModelOptions(device="cpu"), direct_because="a test says so", frames=FRAMES
        )
    )
    assert (summary["transport"], summary["reason"], summary["dropped"]) == ("direct", "a test says so", 0)
    check_outputs(tmp_path, summary)
    again = run_demo(
        DemoConfig(
            tmp_path, model_options=ModelOptions(device="cpu"), direct_because="a test says so", frames=FRAMES
        )
    )
    assert again["mean_iou"] == summary["mean_iou"]


def test_a_bag_of_the_users_is_not_removed(tmp_path: Path) -> None:
    keep = tmp_path / "camera"
    keep.mkdir()
    (keep / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    for overwrite, said in ((False, "is not empty"), (True, "camera' was written by no earlier run")):
        with pytest.raises(UserError, match=said):
            run_demo(DemoConfig(tmp_path, frames=2, overwrite=overwrite))
    assert [path.name for path in tmp_path.rglob("*")] == ["camera", "metadata.yaml"]


def replayed_object(j: list[float], visible: list[bool | None], processed: list[bool]) -> dict[str, Any]:
    """An object as in the summary of a replay: J in percent; None = the prompted frame, and frames before it."""
    only = {"missed": 0.5, "false_presence": None, "frames_visible": 2, "frames_hidden": 0}
    curve = {"J": j, "visible": visible, "processed": processed}
    return {"curve": curve, "processed_only": {**only, "time_to_recover_s": [None]}}


def test_the_mean_iou_is_over_processed_frames_that_show_the_object(tmp_path: Path) -> None:
    hides = replayed_object([90, 80, 100, 60], [None, True, False, True], [True, True, True, True])
    steady = replayed_object([90, 0, 30, 40], [None, True, True, True], [True, False, True, True])
    run = {
        "images_in": 4,
        "processed": 3,
        "dropped": 1,
        "latency_ms": {},
        "processed_only": {"missed": 0.25, "false_presence": 0.0},
        "objects": {"cup": hides, "robot": steady},
    }
    replayed = {"model": "nano", "device": "cpu", "image_size": 256, "runs": {"direct": run}}
    numbers = demo_numbers(DemoConfig(tmp_path, direct_because="a test says so"), replayed)
    assert numbers["mean_iou"] == pytest.approx((0.8 + 0.6 + 0.3 + 0.4) / 4)
    assert numbers["per_object"]["cup"] == {
        "mean_iou": 0.7,
        "missed": 0.5,
        "false_presence": None,
        "frames_visible": 2,
        "frames_hidden": 0,
        "reacquired_s": [None],
    }
    assert (numbers["frames_in"], numbers["frames_processed"], numbers["dropped"]) == (4, 3, 1)
    assert (numbers["missed"], numbers["false_presence"]) == (0.25, 0.0)
