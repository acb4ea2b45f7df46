# SPDX-License-Identifier: Apache-2.0
"""Runs every example in its own process, and compares its results with the ground truth."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from sam2_ros.engine.postprocess import tight_box
from sam2_ros.media.bag.storage import BagReader
from sam2_ros.media.files.video import VideoFrames
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.synthetic.tabletop import Tabletop

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PATHS = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS, "PYTHONUNBUFFERED": "1"}
SECONDS = "12"  # of the ROS examples
CUP, ROBOT = 0, 1  # the demo clip's masks
Box = tuple[int, int, int, int]


def command(name: str, *options: str) -> list[str]:
    return [sys.executable, str(ROOT / "examples" / name), *options]


def run(name: str, folder: Path, *options: str) -> str:
    """What the example prints, run in `folder`."""
    done = subprocess.run(
        command(name, *options), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def iou(found: np.ndarray, true: np.ndarray) -> float:
    return float((found & true).sum() / (found | true).sum())


def box_iou(a: Box, b: Box) -> float:
    across, down = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    inside = max(across, 0) * max(down, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return inside / (sum(areas) - inside)


@pytest.fixture(scope="module")
def clip():
    return demo_clip(frames=30)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_in_the_table(path):
    lines = path.read_text().splitlines()
    assert 20 <= len(lines) <= 80, len(lines)
    assert lines[1].startswith('"""')
    assert f"python examples/{path.name}`" in (ROOT / "examples" / "README.md").read_text()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_help_explains_an_example(path, tmp_path, monkeypatch, capsys):
    if "import rclpy" in path.read_text():
        pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
        pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(path), run_name="__main__")
    shown = capsys.readouterr().out
    assert path.read_text().splitlines()[1].strip('"') in shown
    assert not list(tmp_path.iterdir())


def test_01_a_box_tracks_an_object_through_a_video(tmp_path, clip):
    printed = run("01_track_video.py", tmp_path)
    boxes = [tuple(map(int, found.split(","))) for found in re.findall(r"box \(([\d, ]+)\)", printed)]
    assert len(boxes) == printed.count("TRACKING") == 3
    for frame, box in zip((0, 10, 20), boxes, strict=True):
        assert box_iou(box, tight_box(clip.masks[frame, ROBOT])) > 0.8, frame
    overlay = list(VideoFrames(tmp_path / "out/examples/01_track_video/overlay.mp4"))
    assert len(overlay) == 30
    drawn = np.abs(overlay[-1].image.astype(int) - clip.frames[-1]).sum(axis=2) > 60
    assert drawn[clip.masks[-1, ROBOT]].mean() > 0.7
    assert drawn.mean() < 0.2


def test_02_one_click_has_three_answers_and_the_best_is_the_cup(tmp_path, clip):
    printed = run("02_click_an_image.py", tmp_path)
    assert printed.count("predicted IoU") == 3
    out = tmp_path / "out/examples/02_click_an_image"
    assert cv2.imread(str(out / "candidates.png")).shape == (480, 3 * 640, 3)
    best = cv2.imread(str(out / "best_mask.png"), cv2.IMREAD_UNCHANGED) > 0
    assert iou(best, clip.masks[0, CUP]) > 0.85


def test_03_everything_in_an_image_has_the_cup_and_the_robot(tmp_path, clip):
    run("03_segment_everything.py", tmp_path)
    out = tmp_path / "out/examples/03_segment_everything"
    records = json.loads((out / "masks.json").read_text())
    masks = [coco.decode(record["segmentation"]) > 0 for record in records]
    for true in clip.masks[0]:
        assert max(iou(mask, true) for mask in masks) > 0.8
    assert cv2.imread(str(out / "everything.png")).shape == (480, 640, 3)


def test_04_a_second_click_corrects_the_mask_and_a_removed_object_is_gone(tmp_path):
    printed = run("04_refine_and_remove.py", tmp_path)
    robot = [float(value) for value in re.findall(r"robot TRACKING IoU ([\d.]+)", printed)]
    assert robot[0] < 0.75
    assert robot[1] > 0.85
    assert min(robot[2:]) > 0.7
    assert min(float(value) for value in re.findall(r"cup TRACKING IoU ([\d.]+)", printed)) > 0.85
    assert "at the end: ['robot']" in printed


def test_05_a_bag_becomes_a_bag_with_the_stamps_of_the_camera(tmp_path, clip):
    run("05_track_a_bag.py", tmp_path)
    out = tmp_path / "out/examples/05_track_a_bag"
    with BagReader(out / "camera") as camera, BagReader(out / "tracked/tracked") as tracked:
        images = [message.header.stamp for _, _, message in camera.messages(["/camera/image_raw"])]
        messages = [message for _, _, message in tracked.messages(["/sam2_node/objects"])]
    assert [message.header.stamp for message in messages] == images
    (obj,) = messages[-1].objects
    roi = obj.roi
    box = (roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height)
    assert box_iou(box, tight_box(clip.masks[19, ROBOT])) > 0.85


def test_08_a_few_steps_teach_the_model_what_belongs_to_a_ring(tmp_path):
    printed = run("08_fine_tune.py", tmp_path, "--steps", "4")
    before, after = map(float, re.findall(r"([\d.]+) before, ([\d.]+) after", printed)[0])
    assert after > before + 15
    out = tmp_path / "out/examples/08_fine_tune"
    assert (out / "run/best.safetensors").is_file()
    assert cv2.imread(str(out / "before_and_after.png")).shape == (256, 512, 3)
    masks = sorted((out / "data/ring_0/masks").iterdir())
    assert len(masks) == 8
    assert set(np.unique(cv2.imread(str(masks[0]), cv2.IMREAD_UNCHANGED))) == {0, 1}


def test_09_a_model_is_scored_beside_optical_flow(tmp_path):
    printed = run("09_score_a_model.py", tmp_path)
    out = tmp_path / "out/examples/09_score_a_model/scores"
    summary = json.loads((out / "summary.json").read_text())
    assert f"nano {summary['JF']:.1f}" in printed
    assert summary["JF"] > summary["baselines"]["flow"]["JF"] > 0
    assert "clip_1" in (out / "report.html").read_text()


# The ROS examples, beside one node and the camera of example 10


def importable(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> dict[str, Any]:
    """What the examples 06, 07, 11 and 12 print and write, together: starting a node for each would take minutes."""
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")
    from sam2_ros.live.graph import LiveGraph, own_domain_id, ros_arguments
    from sam2_ros.live.node_process import NodeProcess

    folder, domain_id = tmp_path_factory.mktemp("live"), own_domain_id()
    environment = {**ENVIRONMENT, "ROS_DOMAIN_ID": str(domain_id)}
    in_space = importable("message_filters", "tf2_ros")
    parameters = {"image_size": 256, "max_objects": 4, "use_3d": in_space, "lost_after": 0.5}
    if in_space:
        parameters["target_frame"] = "base_link"
    if importable("vision_msgs"):
        parameters["detection_mode"] = "track_all"
    node_command = [
        *(sys.executable, "-m", "sam2_ros.node.node"),
        *ros_arguments("sam2", "/camera/image_raw", parameters),
        *("-r", "depth_image:=/camera/depth", "-r", "camera_info:=/camera/camera_info"),
    ]
    camera_command = command("10_depth_camera.py", *(["--tf"] if in_space else []))
    camera = subprocess.Popen(camera_command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    try:
        with (
            NodeProcess(node_command, folder / "node.log", environment) as process,
            LiveGraph("examples_test", domain_id, process, "sam2") as graph,
        ):
            graph.wait_until_active(180.0)
            started = {}
            for name, options in (
                ("07_detector_loop.py", ["--seconds", SECONDS]),
                ("06_ros_client.py", ["--seconds", SECONDS]),
                ("11_grasp_point.py", ["--seconds", SECONDS, "--check"]),
            ):
                started[name] = subprocess.Popen(
                    command(name, *options), cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
                )
            printed = {name: example.communicate(timeout=120)[0] for name, example in started.items()}
            assert {example.returncode for example in started.values()} == {0}, process.last_words()
            tree = command("12_track_until.py")  # alone: its can must be tracked well
            subprocess.run(tree, cwd=folder, env=environment, timeout=120, check=True)
    finally:
        camera.send_signal(signal.SIGINT)
        assert camera.wait(30) == 0
    lines = (folder / "out/examples/06_ros_client/status.jsonl").read_text().splitlines()
    points = (folder / "out/examples/11_grasp_point/points.jsonl").read_text().splitlines()
    return {
        "printed": printed,
        "in_space": in_space,
        "statuses": [json.loads(line) for line in lines],
        "points": [json.loads(line) for line in points],
        "goals": json.loads((folder / "out/examples/12_track_until/goals.json").read_text()),
    }


@pytest.mark.alone
def test_06_a_client_prompts_the_node_and_reads_where_the_ball_is(live):
    assert "accepted: ['ball']" in live["printed"]["06_ros_client.py"]
    image = Tabletop().view(0).image.astype(int)
    ball = tight_box(image[..., 2] > image[..., 0] + 30)
    seen = [line for line in live["statuses"] if line["id"] == "ball" and line["state"] == "TRACKING"]
    assert len(seen) > 5
    assert all(box_iou(line["box"], ball) > 0.85 for line in seen)
    if live["in_space"]:
        positions = np.array([line["position_m"] for line in seen if "position_m" in line])
        assert np.abs(positions.mean(axis=0) - (0.48, -0.23, 0.05)).max() < 0.03


@pytest.mark.alone
def test_07_a_detector_starts_an_object_and_the_can_is_tracked(live):
    printed = live["printed"]["07_detector_loop.py"]
    assert f"boxes go to /sam2/{'detections' if importable('vision_msgs') else 'prompts'}" in printed
    assert "TRACKING" in printed
    scene, overlaps = Tabletop(), []
    tracked = [line for line in live["statuses"] if line["id"] != "ball" and line["state"] == "TRACKING"]
    for line in tracked[::3]:
        can = scene.view(line["stamp"]).can
        if can.sum() > 2000:  # in whole
            overlaps.append(box_iou(line["box"], tight_box(can)))
    assert overlaps
    assert np.median(overlaps) > 0.85


@pytest.mark.alone
def test_11_a_grasp_point_is_within_millimetres_of_the_true_one(live):
    if not live["in_space"]:
        pytest.skip("needs message_filters and tf2_ros, which have no wheels")
    errors = [line["error_mm"] for line in live["points"] if "error_mm" in line]
    assert len(errors) > 3
    assert np.median(errors) < 8
    assert all("wait" in line or "grasp_m" in line for line in live["points"])


@pytest.mark.alone
def test_12_of_three_actions_two_succeed_and_one_is_cancelled(live):
    visible, hidden, watch = live["goals"].values()
    assert visible == "SUCCESS: visible"
    assert re.fullmatch(r"SUCCESS: lost: not visible for \d\.\d s", hidden)
    assert watch == "CANCELLED: cancelled; 'ball' remains"
