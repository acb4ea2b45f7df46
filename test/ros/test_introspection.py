# SPDX-License-Identifier: Apache-2.0
"""The parameter service_introspection: requests and replies of the node's services, as events on topics."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.action", reason="needs sam2_ros_msgs, built and sourced")

from rclpy.service import Service
from sam2_ros_msgs.srv import AddObjects

from .conftest import BOX

REQUEST, RESPONSE = 1, 2  # of service_msgs/ServiceEventInfo, as the server sees them: received, sent


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot(service_introspection="contents")
    robot.listen_to_outputs()
    return robot


def test_requests_and_replies_are_published_with_their_content_until_it_is_switched_off(robot):
    if not hasattr(Service, "configure_introspection"):
        robot.wait_for(
            "the announcement", lambda: "service_introspection: contents has no effect" in robot.log()
        )
        return
    topic = "/sam2/add_objects/_service_event"
    events = robot.listen(AddObjects.Event, topic)
    for name in ("remove_objects", "segment", "reset", "enable"):
        robot.wait_for(name, lambda name=name: robot.node.count_publishers(f"/sam2/{name}/_service_event"))
    assert not robot.node.count_publishers("/sam2/get_parameters/_service_event")
    robot.wait_for("the subscription", lambda: robot.add(robot.prompt("box", box=BOX)).success and events)
    events.clear()
    robot.add(robot.prompt("box", box=BOX))
    robot.wait_for("two events", lambda: len(events) == 2)
    assert [event.info.event_type for event in events] == [REQUEST, RESPONSE]
    assert events[0].request[0].prompts[0].id == "box"
    assert list(events[1].response[0].ids) == ["box"]

    assert robot.set_parameter("service_introspection", "metadata").successful
    events.clear()
    robot.add(robot.prompt("box", box=BOX))
    robot.wait_for("two events", lambda: len(events) == 2)
    assert not events[0].request

    assert robot.set_parameter("service_introspection", False).successful  # as YAML reads off
    robot.wait_for("no publisher", lambda: not robot.node.count_publishers(topic))


def test_a_level_that_does_not_exist_is_refused_with_the_choices(robot):
    refused = robot.set_parameter("service_introspection", "all")
    assert not refused.successful
    assert "expected one of off, metadata, contents" in refused.reason
