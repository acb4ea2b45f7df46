# SPDX-License-Identifier: Apache-2.0
"""Faults of a real robot, caused on a live graph: each has one defined outcome, and the other objects are tracked on.

Faults of images, prompts and cameras are in test_node.py and test_prompt_stamps.py; docs/faults.md lists all.
"""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

import torch
from rosgraph_msgs.msg import Clock

from .conftest import BOX, DISC, START_TIMEOUT_S, TIMEOUT_S, labels, scene, stamp_ns

HERE = Path(__file__).resolve().parent
WARN, ERROR = 1, 2


def faulty(fault: str) -> list[str]:
    return [sys.executable, str(HERE / "faulty_node.py"), fault]


def poisoned():
    image = scene()
    image[0, 0] = 255
    return image


def test_a_failing_image_is_lost_three_in_a_row_deactivate_the_node_and_sigint_ends_it(make_robot):
    robot = make_robot(command=faulty("device_lost"))
    robot.listen_to_outputs()
    robot.add(robot.prompt("box", box=BOX))
    label = robot.process().objects[0].label

    def fail(images):
        for _ in range(images):
            lines = robot.log().count("image failed")
            robot.send_image(poisoned())
            robot.wait_for("the failure", lambda: robot.log().count("image failed") > lines)  # noqa: B023

    fail(2)
    assert labels(robot.process()) == {"box": label}
    fail(3)
    robot.wait_for("deactivation", lambda: robot.state() == "inactive")
    tracking = robot.diagnostics()["tracking"]
    assert tracking["level"] == ERROR
    assert "3 images in a row failed" in tracking["message"]
    assert "device lost" in tracking["message"]

    assert robot.transition("activate")
    robot.wait_until_tracking()
    assert labels(robot.process()) == {"box": label}
    assert robot.diagnostics()["tracking"]["level"] == WARN

    # Interrupted while images are in progress.
    for _ in range(10):
        robot.send_image(scene())
    robot.process_handle.send_signal(signal.SIGINT)
    assert robot.process_handle.wait(TIMEOUT_S) == 0, robot.log()
    assert "Traceback" not in robot.log()


def test_out_of_device_memory_drops_the_newest_object_and_logs_it(make_robot):
    robot = make_robot(command=faulty("full_memory"), max_objects=4)
    robot.listen_to_outputs()
    assert robot.add(robot.prompt("first", box=BOX), robot.prompt("second", points=[(*DISC, True)])).success
    before = labels(robot.process())
    robot.process()
    assert robot.add(robot.prompt("third", box=BOX)).success
    assert labels(robot.process()) == before
    assert "the newest object 'third' is dropped, the others are tracked on" in robot.log()
    summary = robot.diagnostics()
    assert summary["objects_dropped"] == "1"
    assert summary["frames_failed"] == "0"
    assert summary["tracking"]["level"] == WARN
    assert labels(robot.process()) == before
    # There is room again once another object is removed.
    robot.remove("first")
    assert robot.add(robot.prompt("third", box=BOX)).success
    assert set(labels(robot.process())) == {"second", "third"}


def test_when_all_labels_are_used_prompts_are_rejected_and_the_objects_live_on(make_robot):
    robot = make_robot(command=faulty("few_labels"), max_objects=2)
    robot.listen_to_outputs()
    for name in "abc":
        robot.reset()
        robot.add(robot.prompt(name, box=BOX))
        last = labels(robot.process())
    assert last == {"c": 3}
    robot.add(robot.prompt("d", points=[(*DISC, True)]))
    assert labels(robot.process()) == last
    assert "rejected: no label left for 'd': all 3 labels have been used; restart the node" in robot.log()


def test_a_message_that_cannot_be_sent_is_dropped_and_counted_and_the_others_go_out(make_robot):
    robot = make_robot(command=faulty("deaf_middleware"))
    from sam2_ros_msgs.msg import TrackedObjectArray
    from sensor_msgs.msg import Image

    robot.listen(TrackedObjectArray, "/sam2/objects")
    robot.listen(Image, "/sam2/label_image")
    robot.wait_for(
        "a message lost",
        lambda: robot.send_image(scene()) and "message on /sam2/label_image dropped" in robot.log(),
        START_TIMEOUT_S,
    )
    assert robot.process().objects == []
    summary = robot.diagnostics()
    assert int(summary["messages_not_published"]) > 0
    assert summary["tracking"]["level"] == WARN
    assert "could not be published" in summary["tracking"]["message"]


def test_a_reliable_subscriber_that_hangs_delays_nobody(make_robot):
    robot = make_robot()
    robot.listen_to_outputs()
    listener = subprocess.Popen(
        [sys.executable, str(HERE / "stopped_listener.py"), "/sam2/label_image", str(robot.domain_id)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        robot.wait_for(
            "the second listener",
            lambda: robot.node.count_subscribers("/sam2/label_image") == 2,
            START_TIMEOUT_S,
        )
        robot.process()
        listener.send_signal(signal.SIGSTOP)
        large = scene().repeat(6, axis=0).repeat(6, axis=1)
        for _ in range(20):
            robot.process(
                large
            )  # its objects arrive, however many label images wait for the subscriber that hangs
        listener.send_signal(signal.SIGCONT)
        robot.wait_for(
            "label images for everybody", lambda: robot.label_image_at(stamp_ns(robot.process(large)))
        )
    finally:
        listener.kill()
        listener.communicate()


def test_tracking_continues_while_simulated_time_stands_still_or_jumps(make_robot):
    robot = make_robot(use_sim_time=True, camera_timeout=3.0)
    clock = robot.publisher(Clock, "/clock")
    robot.listen_to_outputs()

    def tick(stamp):
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(stamp, 1_000_000_000)
        clock.publish(message)

    robot.add(robot.prompt("box", box=BOX))
    first = robot.process()
    for _ in range(5):  # the clock has not moved at all
        message = robot.process()
    assert labels(message) == labels(first)
    assert "age_ms_p50" not in robot.diagnostics()  # no clock, no age

    def aged():
        next_stamp = robot.next_stamp_ns()
        tick(next_stamp + 40_000_000)
        robot.process(stamp_ns=next_stamp)
        return "age_ms_p50" in robot.diagnostics()

    robot.wait_for("the age by the simulated clock", aged)
    # The simulation is reset: stamps and clock begin again.
    tick(1_000_000_000)
    again = robot.process(stamp_ns=1_000_000_000)
    assert labels(again) == labels(first)
    assert "time jumped back" in robot.log()


def test_shutdown_during_inference_ends_in_order(make_robot):
    robot = make_robot()
    robot.listen_to_outputs()
    robot.add(robot.prompt("box", box=BOX))
    robot.process()
    for _ in range(5):
        robot.send_image(scene())
    assert robot.transition("shutdown")
    assert robot.state() == "finalized"
    robot.process_handle.send_signal(signal.SIGTERM)
    robot.process_handle.wait(TIMEOUT_S)
    assert "Traceback" not in robot.log()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_device_gives_one_clear_line(make_robot):
    robot = make_robot(device="cuda:0")
    robot.wait_for("the error", lambda: "configure failed" in robot.log(), START_TIMEOUT_S)
    assert robot.state() == "unconfigured"
    tracking = robot.diagnostics()["tracking"]
    assert tracking["level"] == ERROR
    assert "cuda:0" in tracking["message"]
    assert "Traceback" not in robot.log()
    reply = robot.add(robot.prompt("box", box=BOX))
    assert not reply.success
    assert "the node is unconfigured, expected inactive or active" in reply.message


@pytest.mark.parametrize(
    ("parameters", "package"),
    [({"use_3d": True}, "message_filters"), ({"detection_mode": "reseed"}, "vision_msgs")],
)
def test_a_required_package_that_is_missing_gives_one_clear_line(make_robot, parameters, package):
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"needs a machine without {package}")
    robot = make_robot(**parameters)
    robot.wait_for("the error", lambda: "configure failed" in robot.log(), START_TIMEOUT_S)
    assert robot.state() == "unconfigured"
    message = robot.diagnostics()["tracking"]["message"]
    assert f"ros-{os.environ.get('ROS_DISTRO', '<distro>')}-{package.replace('_', '-')}" in message
    assert "Traceback" not in robot.log()
