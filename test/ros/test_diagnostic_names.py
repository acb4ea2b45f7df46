# SPDX-License-Identifier: Apache-2.0
"""Nodes in several namespaces share /diagnostics: name and hardware_id distinguish them."""

import pytest
from ros_domains import next_domain

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

from sam2_ros.node.node import Sam2Node

from .conftest import TIMEOUT_S

CAMERAS = {
    "/robot1/sam2": "/robot1/image_raw",
    "/robot2/sam2": "/robot2/image_raw/compressed",
    "/robot2/wrist": "/wrist/image",
}


@pytest.fixture
def statuses(monkeypatch):
    """(name, hardware_id) -> values of three unconfigured nodes."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    raw = [Parameter("autostart", value=False)]
    compressed = [*raw, Parameter("image_transport", value="compressed")]
    remapped = ["--ros-args", "-r", "image_raw:=/wrist/image", "-r", "__node:=wrist"]
    nodes = [
        Sam2Node(context=context, namespace="robot1", parameter_overrides=raw),
        Sam2Node(context=context, namespace="robot2", parameter_overrides=compressed),
        Sam2Node(context=context, namespace="robot2", parameter_overrides=raw, cli_args=remapped),
    ]
    heard = {}

    def hear(message):
        for status in message.status:
            heard[status.name, status.hardware_id] = {each.key: each.value for each in status.values}

    listener = rclpy.create_node("listener", context=context)
    listener.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
    executor = SingleThreadedExecutor(context=context)
    for node in (*nodes, listener):
        executor.add_node(node)
    deadline_s = time.monotonic() + TIMEOUT_S
    while len(heard) < 2 * len(nodes) and time.monotonic() < deadline_s:
        executor.spin_once(timeout_sec=0.1)
    yield heard
    executor.shutdown()
    for node in (*nodes, listener):
        node.destroy_node()
    context.try_shutdown()


def test_a_status_is_named_after_its_node_and_its_hardware_is_the_camera(statuses):
    expected = {
        (f"{node}: {name}", topic) for node, topic in CAMERAS.items() for name in ("tracking", "camera")
    }
    assert set(statuses) == expected
    assert all(values["topic"] == topic for (_, topic), values in statuses.items())
