"""The demo end to end on its first frames: through a live node where there is ROS, and directly."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_ros.errors import UserError
from sam2_ros.eval.demo import DemoConfig, mask_box, run_demo
from sam2_ros.live.player import LiveReplayConfig, fastdds_profile, missing_ros, replay_live
from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.bag.timeline import BagTimeline, read_timeline
from sam2_ros.media.results import LABEL_TOPIC, OBJECTS_TOPIC
from sam2_ros.weights.open_model import ModelOptions

needs_ros = pytest.mark.skipif(missing_ros() is not None, reason=str(missing_ros()))
FRAMES = 20


def check_outputs(out: Path, summary: dict[str, object]) -> None:
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary["frames_in"] == FRAMES
    processed = int(str(summary["frames_processed"]))
    assert processed + int(str(summary["dropped"])) == FRAMES
    assert 0.0 <= float(str(summary["mean_iou"])) <= 1.0
    assert summary["false_presence"] is None  # nothing hides in the first frames
    with BagReader(out / "tracked") as bag:
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
    assert not re.search(r'(src|href)="(?!data:|#)', report)  # nothing to load from elsewhere


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


def black_camera(folder: Path) -> BagTimeline:
    """A bag of one black image."""
    with BagWriter(folder / "camera") as writer:
        writer.write_image("/camera/image_raw", 1_000_000_000, "camera", np.zeros((48, 64, 3), np.uint8))
    return read_timeline(folder / "camera")


@needs_ros
def test_a_node_that_cannot_load_its_model_is_reported_with_its_log(tmp_path: Path) -> None:
    camera = black_camera(tmp_path)
    config = LiveReplayConfig(
        node_command=(sys.executable, "-m", "sam2_ros.node.node"),
        parameters={"model": "/nowhere/model.pt"},
        start_timeout_s=180.0,
    )
    with pytest.raises(UserError, match=r"(?s)unconfigured.*/nowhere/model\.pt"):
        replay_live(camera, {}, tmp_path / "tracked", tmp_path / "node.log", config)


@needs_ros
def test_a_process_that_never_becomes_a_node_is_reported_in_time(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import time; print('not a node', flush=True); time.sleep(60)")
    config = LiveReplayConfig(node_command=command, start_timeout_s=3.0)
    camera = black_camera(tmp_path)
    with pytest.raises(UserError, match=r"(?s)becoming active within 3 s.*not a node"):
        replay_live(camera, {}, tmp_path / "tracked", tmp_path / "node.log", config)


def test_a_bag_of_the_users_is_not_removed(tmp_path: Path) -> None:
    keep = tmp_path / "camera"
    keep.mkdir()
    (keep / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    for overwrite, said in ((False, "is not empty"), (True, "camera' was written by no earlier run")):
        with pytest.raises(UserError, match=said):
            run_demo(DemoConfig(tmp_path, frames=2, overwrite=overwrite))
    assert [path.name for path in tmp_path.rglob("*")] == ["camera", "metadata.yaml"]


def test_mask_box_is_tight_and_half_open() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[3:7, 2:9] = True
    assert mask_box(mask) == (2.0, 3.0, 9.0, 7.0)
