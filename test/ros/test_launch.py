# SPDX-License-Identifier: Apache-2.0
"""The launch files, started from an install space: the tracker, and a replay from start to end.

Checks the running processes; test/packaging/test_launch.py checks the launch descriptions.
"""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ros_domains import next_domain

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")
pytest.importorskip("launch_ros", reason="needs launch_ros, which has no wheel: run in a ROS 2 installation")

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from colcon_workspace import colcon_build, copy_of_clone, need_colcon

from sam2_ros.media.bag.storage import BagWriter

from .conftest import BOX, FRAME_NS, START_TIMEOUT_S, Robot, scene

TRACKING = 1

# As `ros2 launch`, which is another package.
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
words = sys.argv[1:sys.argv.index("--ros-args")] if "--ros-args" in sys.argv else sys.argv[1:]
source = PythonLaunchDescriptionSource(words[0])
arguments = [word.split(":=", 1) for word in words[1:]]
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)]))
sys.exit(service.run())
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    need_colcon()
    ws = tmp_path_factory.mktemp("workspace")
    copy_of_clone(ws / "src")
    colcon_build(ws, "--packages-select", "sam2_ros")
    return ws


def launch_command(workspace: Path, file: str, **arguments: object) -> list[str]:
    path = workspace / "install" / "sam2_ros" / "share" / "sam2_ros" / "launch" / file
    words = [f"{name}:={value}" for name, value in arguments.items()]
    sourced = ["bash", "-c", 'source "$0/install/setup.bash" && exec "$@"', str(workspace)]
    return [*sourced, sys.executable, "-c", LAUNCH, str(path), *words]


def test_the_tracker_starts_under_the_given_name_and_namespace_and_tracks(workspace, model, tmp_path):
    given = {
        "name": "eye",
        "namespace": "robot",
        "image": "/camera/image_raw",
        "model": model,
        "device": "cpu",
    }
    if importlib.util.find_spec("vision_msgs") is not None:
        given |= {"detections": "/boxes", "detection_mode": "track_all"}
    command = launch_command(workspace, "sam2.launch.py", autostart="true", **given)
    with Robot(tmp_path / "launch.log", command=command, name="robot/eye") as robot:
        robot.listen_to_outputs()
        assert robot.state() == "active"
        assert robot.add(robot.prompt("box", box=BOX)).success
        assert [obj.id for obj in robot.process().objects] == ["box"]
        assert "tracking on /camera/image_raw" in robot.log()
        assert robot.node.count_subscribers("/boxes") == ("detections" in given)
    assert "process has finished cleanly" in robot.log()
    assert robot.process_handle.returncode == 0


def test_what_a_text_detector_finds_is_tracked(workspace, model, tmp_path, monkeypatch):
    pytest.importorskip("vision_msgs.msg", reason="needs vision_msgs, which has no wheel")
    prefix = tmp_path / "nanoowl"
    marker = prefix / "share" / "ament_index" / "resource_index" / "packages" / "ros2_nanoowl"
    program = prefix / "lib" / "ros2_nanoowl" / "nano_owl_py"
    for path in (marker, program):
        path.parent.mkdir(parents=True)
    marker.touch()
    stand_in = Path(__file__).with_name("text_detector.py")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in} "$@"\n')
    program.chmod(0o755)
    paths = [str(prefix), os.environ.get("AMENT_PREFIX_PATH", "")]
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(filter(None, paths)))

    given = {"image": "/camera/image_raw", "model": model, "device": "cpu", "image_encoder_engine": "none"}
    command = launch_command(workspace, "text_detector.launch.py", text="a red box,a green ball", **given)
    with Robot(tmp_path / "launch.log", command=command) as robot:
        robot.listen_to_outputs()
        robot.wait_for(
            "the detector to know the text", lambda: "query: ['a red box', 'a green ball']" in robot.log()
        )
        (obj,) = robot.wait_for(
            "an object", lambda: [obj for obj in robot.process().objects if obj.state == TRACKING]
        )
        assert obj.class_id == "0"  # the red box, by its number in the text
        box = obj.roi.x_offset, obj.roi.y_offset, obj.roi.width, obj.roi.height
        assert box == pytest.approx((30, 30, 40, 40), abs=4)
    assert robot.log().count("process has finished cleanly") == 2


@pytest.mark.parametrize(
    ("package", "file", "arguments"),
    [
        ("rviz2", "sam2.launch.py", {"rviz": "true"}),
        ("realsense2_camera", "realsense_detector.launch.py", {}),
    ],
)
def test_a_launch_that_cannot_start_completely_leaves_nothing_running(workspace, package, file, arguments):
    with contextlib.suppress(PackageNotFoundError):
        get_package_prefix(package)
        pytest.skip(f"{package} is installed")
    name = f"left_over_{os.getpid()}"
    command = launch_command(workspace, file, name=name, **arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S)
    assert done.returncode == 1
    assert f"apt install ros-<distro>-{package.replace('_', '-')}" in done.stdout + done.stderr
    left = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # ended in the meantime
            left += [path] if f"__node:={name}".encode() in path.read_bytes() else []
    assert left == []


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("bag") / "camera"
    with BagWriter(path, storage="mcap") as writer:
        for number in range(15):
            writer.write_image("/camera/image_raw", 10**18 + number * FRAME_NS, "camera", scene(number))
    return path


@pytest.fixture
def environment(tmp_path, bag):
    """An environment with `ros2 bag`: the installed one, or the replacement beside this file."""
    domain = {"ROS_DOMAIN_ID": str(next_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    environment = {**os.environ, **domain, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    marker = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "ros2bag"
    marker.parent.mkdir(parents=True)
    marker.touch()
    program = tmp_path / "bin" / "ros2"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("ros2_bag.py")} "$@"\n')
    program.chmod(0o755)
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
    environment["AMENT_PREFIX_PATH"] = f"{tmp_path}{os.pathsep}{environment.get('AMENT_PREFIX_PATH', '')}"
    return environment


def replay(workspace, environment, **arguments):
    command = launch_command(
        workspace, "replay.launch.py", image="/camera/image_raw", device="cpu", **arguments
    )
    return subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=START_TIMEOUT_S,
    )


def test_a_replay_plays_when_the_node_is_active_and_ends_with_a_closed_recording(
    workspace, environment, bag, model, tmp_path
):
    prompts = json.dumps([{"id": "box", "box": list(BOX)}])
    done = replay(
        workspace, environment, bag=bag, out=tmp_path / "tracked", prompts=prompts, model=model, rate=0.5
    )
    assert done.returncode == 0, done.stdout
    steps = ["tracking on /camera/image_raw", "[ros2-2]: process started", "[ros2-3]: process started"]
    assert sorted(steps, key=done.stdout.index) == steps
    assert "has ended" in done.stdout
    heard = json.loads((tmp_path / "tracked" / "heard.json").read_text())
    assert set(heard) == {"/sam2/objects", "/sam2/label_image", "/diagnostics"}
    assert len(heard["/sam2/objects"]) >= 5
    assert all(ids == ["box"] for ids in heard["/sam2/objects"])  # from the first image on
    assert done.stdout.count("process has finished cleanly") == 3


def test_a_replay_whose_prompts_are_rejected_plays_nothing(workspace, environment, bag, model, tmp_path):
    done = replay(
        workspace, environment, bag=bag, out=tmp_path / "tracked", prompts="[{id: cup}]", model=model
    )
    assert done.returncode == 1, done.stdout
    assert "prompts were rejected: prompt 'cup'" in done.stdout
    assert "[ros2-2]: process started" not in done.stdout
    assert not (tmp_path / "tracked").exists()


def test_a_replay_whose_node_cannot_run_ends_with_the_reason(workspace, environment, bag, tmp_path):
    parameters = tmp_path / "unusable.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    precision: int4\n")
    done = replay(workspace, environment, bag=bag, params_file=parameters)
    assert done.returncode == 1, done.stdout
    assert "parameter precision: got 'int4'" in done.stdout
    assert "ended with exit status 1 before the replay was over" in done.stdout


def test_a_replay_does_not_wait_for_ever(workspace, environment, bag, tmp_path):
    done = replay(workspace, environment, bag=bag, model=tmp_path / "nowhere.pt", start_timeout=8.0)
    assert done.returncode == 1, done.stdout
    assert "configure failed" in done.stdout
    assert "/sam2 was not active within start_timeout = 8.0 s" in done.stdout
