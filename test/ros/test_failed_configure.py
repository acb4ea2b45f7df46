# SPDX-License-Identifier: Apache-2.0
"""A configure that fails half way, on a real node in this process, leaves no subscription and no publisher.

Counts the node's own endpoints: on the graph, an undiscovered endpoint looks like a destroyed one.
"""

from __future__ import annotations

import importlib.util

import pytest
from ros_domains import next_domain

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

import rclpy
from rclpy.parameter import Parameter

from sam2_ros.node.node import FAILURE, SUCCESS, Sam2Node

TOO_LONG = "x" * 300  # for a topic name: the outputs, which are made last, cannot be made


@pytest.fixture
def make_node(model, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the number of threads stays the tests' own
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    made = []

    def make(**parameters) -> Sam2Node:
        values = {"model": model, "autostart": False, **parameters}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        made.append(Sam2Node(context=context, parameter_overrides=overrides))
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()
    context.try_shutdown()


def endpoints(node: Sam2Node) -> list[str]:
    """The node's subscriptions, publishers and timers."""
    return sorted(
        [f"subscription {each.topic_name}" for each in node.subscriptions]
        + [f"publisher {each.topic_name}" for each in node.publishers]
        + [f"timer {each.timer_period_ns}" for each in node.timers]
    )


@pytest.mark.parametrize(
    ("parameters", "package", "topic"),
    [
        ({}, "rclpy", "publisher /sam2/objects"),
        ({"detection_mode": "reseed"}, "vision_msgs", "subscription /sam2/detections"),
        ({"use_3d": True}, "message_filters", "subscription /depth_image"),
        ({"use_3d": True, "target_frame": "map"}, "tf2_ros", "subscription /tf"),
    ],
)
def test_a_failed_configure_destroys_what_it_made_before(make_node, parameters, package, topic):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package} (apt: ros-<distro>-{package.replace('_', '-')})")
    whole = make_node(**parameters)
    assert whole.trigger_configure() == SUCCESS
    assert topic in endpoints(whole)

    node = make_node(**parameters, mask_topics=[TOO_LONG])
    before = endpoints(node)
    assert node.trigger_configure() == FAILURE
    assert endpoints(node) == before


def test_the_reason_of_a_failed_configure_is_one_line(make_node):
    node = make_node(mask_topics=[TOO_LONG])
    assert node.trigger_configure() == FAILURE
    fault = node._fault
    assert "topic length should not exceed" in fault
    assert TOO_LONG in fault
    assert len(fault.splitlines()) == 1
