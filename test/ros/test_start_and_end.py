# SPDX-License-Identifier: Apache-2.0
"""How the node's process starts and ends: in order when interrupted, with one clear line when it cannot work."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from .conftest import START_TIMEOUT_S, TIMEOUT_S, scene


def faulty(fault: str) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("faulty_node.py")), fault]


def test_sigint_while_the_model_is_loading_ends_the_node(make_robot):
    robot = make_robot()
    robot.wait_for("the node", lambda: "sam2" in robot.node.get_node_names(), START_TIMEOUT_S)
    robot.process_handle.send_signal(signal.SIGINT)
    assert robot.process_handle.wait(TIMEOUT_S) == 0, robot.log()
    assert "Traceback" not in robot.log()


def test_a_missing_model_is_reported_in_one_line_and_on_diagnostics(make_robot):
    robot = make_robot(model="/nowhere/model.safetensors")
    robot.wait_for("the error", lambda: "configure failed" in robot.log(), START_TIMEOUT_S)
    assert robot.state() == "unconfigured"
    summary = robot.diagnostics()
    assert summary["tracking"]["level"] == 2
    assert "/nowhere/model.safetensors" in summary["tracking"]["message"]
    assert "Error" not in summary["tracking"]["message"]  # no class names: the line is for users
    assert "Traceback" not in robot.log()


@pytest.mark.parametrize(
    ("argument", "said"),
    [("precision:=int4", "expected one of auto, bf16"), ("lost_after:=soon", "expected a number")],
)
def test_an_unusable_parameter_ends_the_node_with_one_line(argument, said):
    command = [sys.executable, "-m", "sam2_ros.node.node", "--ros-args", "-p", argument]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_messages_name_the_command_that_builds_them(tmp_path):
    # A package of that name without the messages hides the real one, as in a workspace that was never built.
    (tmp_path / "sam2_ros_msgs").mkdir()
    (tmp_path / "sam2_ros_msgs" / "__init__.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", "import sam2_ros.node.interfaces"],
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        env=environment,
    )
    assert done.returncode == 1
    assert "colcon build --base-paths . sam2_ros_msgs" in done.stderr


def processes_end(robot, number, within_s=5.0):
    """Seconds that launch waits between two signals."""
    robot.process_handle.send_signal(number)
    assert robot.process_handle.wait(within_s) == 0, robot.log()
    assert "Traceback" not in robot.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay_s", [0.15, 0.8, 2.0])
def test_a_signal_in_the_first_seconds_ends_the_node_without_output(tmp_path, number, delay_s):
    command = [sys.executable, "-X", "importtime", "-m", "sam2_ros.node.node"]
    imports = tmp_path / "imports"
    with imports.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        while "sam2_ros.node" not in imports.read_text():  # Python itself has started
            assert process.poll() is None
        time.sleep(delay_s)
        process.send_signal(number)
        said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert "Traceback" not in said + imports.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_an_image_never_ends_ends_the_node_in_time(make_robot, number):
    robot = make_robot(command=faulty("hanging_image"))
    robot.listen_to_outputs()
    image = scene()
    image[0, 0] = 255
    robot.send_image(image)
    time.sleep(0.5)  # the image is in progress
    processes_end(robot, number)


def test_a_signal_while_loading_never_ends_ends_the_node_in_time(make_robot):
    robot = make_robot(command=faulty("hanging_load"))
    robot.wait_for("the node", lambda: "sam2" in robot.node.get_node_names(), START_TIMEOUT_S)
    time.sleep(1.0)  # the model is loaded
    processes_end(robot, signal.SIGINT)
    assert "process ended at once" in robot.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_everything_is_segmented_ends_the_node_in_time(make_robot, number):
    from sam2_ros_msgs.srv import Segment

    robot = make_robot(image_size=512)
    robot.listen_to_outputs()
    reply = robot.client(Segment, "segment").call_async(Segment.Request())
    time.sleep(1.0)
    assert not reply.done()
    for _ in range(3):
        robot.send_image(scene())
    processes_end(robot, number)
