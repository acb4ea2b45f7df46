"""How the node's process starts and ends.

In order when interrupted, with one clear line when it cannot work.
"""

import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from .conftest import BOX, START_TIMEOUT_S, TIMEOUT_S, scene

# The real node, in which an image whose first pixel is white makes the tracker raise, as a lost device would.
FAULTY_NODE = """
import sys
from sam2_ros.engine import Tracker
step = Tracker.step
def faulty(self, image, *arguments, **keywords):
    if image[0, 0].min() == 255:
        raise RuntimeError("device lost")
    return step(self, image, *arguments, **keywords)
Tracker.step = faulty
from sam2_ros.node.node import main
sys.exit(main())
"""


def poisoned():
    image = scene()
    image[0, 0] = 255
    return image


def test_a_failing_image_costs_itself_three_in_a_row_deactivate_and_sigint_ends_the_node(make_robot):
    robot = make_robot(command=[sys.executable, "-c", FAULTY_NODE])
    robot.listen_to_outputs()
    robot.add(robot.prompt("box", box=BOX))
    label = robot.process().objects[0].label

    for _ in range(2):
        lines = robot.log().count("image failed")
        robot.send_image(poisoned())
        robot.wait_for("the failure", lambda: robot.log().count("image failed") > lines)  # noqa: B023
    assert [(obj.id, obj.label) for obj in robot.process().objects] == [("box", label)]

    for _ in range(3):
        lines = robot.log().count("image failed")
        robot.send_image(poisoned())
        robot.wait_for("the failure", lambda: robot.log().count("image failed") > lines)  # noqa: B023
    robot.wait_for("deactivation", lambda: robot.state() == "inactive")
    tracking = robot.diagnostics()["tracking"]
    assert tracking["level"] == 2
    assert "3 images in a row failed" in tracking["message"]
    assert "device lost" in tracking["message"]

    assert robot.transition("activate")
    robot.wait_until_tracking()
    assert [(obj.id, obj.label) for obj in robot.process().objects] == [("box", label)]
    assert robot.diagnostics()["tracking"]["level"] == 1

    # Interrupted while images are in work.
    for _ in range(10):
        robot.send_image(scene())
    robot.process_handle.send_signal(signal.SIGINT)
    assert robot.process_handle.wait(TIMEOUT_S) == 0, robot.log()
    assert "Traceback" not in robot.log()


def test_sigint_while_the_model_is_loading_ends_the_node(make_robot):
    robot = make_robot()
    robot.wait_for("the node", lambda: "sam2" in robot.node.get_node_names(), START_TIMEOUT_S)
    robot.process_handle.send_signal(signal.SIGINT)
    assert robot.process_handle.wait(TIMEOUT_S) == 0, robot.log()
    assert "Traceback" not in robot.log()


def test_a_missing_model_is_said_in_one_line_and_on_diagnostics(make_robot):
    robot = make_robot(model="/nowhere/model.safetensors")
    robot.wait_for("the error", lambda: "configure failed" in robot.log(), START_TIMEOUT_S)
    assert robot.state() == "unconfigured"
    summary = robot.diagnostics()
    assert summary["tracking"]["level"] == 2
    assert "/nowhere/model.safetensors" in summary["tracking"]["message"]
    assert "Traceback" not in robot.log()


@pytest.mark.parametrize(
    ("argument", "said"),
    [("precision:=int4", "expected one of auto, bf16"), ("lost_after:=1", "lost_after")],
)
def test_an_unusable_parameter_ends_the_node_with_one_line(argument, said):
    command = [sys.executable, "-m", "sam2_ros.node.node", "--ros-args", "-p", argument]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_messages_name_the_command_that_builds_them(tmp_path):
    # A package of that name without the messages hides the real one, as a workspace that was never built
    # does.
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
