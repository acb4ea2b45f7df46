"""Every lifecycle transition by service, and parameters as `ros2 param` sees them, on one live node."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from rcl_interfaces.srv import DescribeParameters, ListParameters

from sam2_ros.node.params import PARAMETERS

from .conftest import BOX


@pytest.fixture(scope="module")
def robot(make_robot):
    return make_robot(autostart=False, image_size=512)


def test_the_node_walks_through_its_lifecycle(robot):
    assert robot.state() == "unconfigured"
    reply = robot.add(robot.prompt("box", box=BOX))
    assert not reply.success
    assert "unconfigured" in reply.message

    assert robot.transition("configure")
    assert robot.state() == "inactive"
    assert robot.node.count_subscribers("/camera/image_raw") == 0
    robot.wait_for("the warning", lambda: "image_size = 512 is not available in this version" in robot.log())

    assert robot.transition("activate")
    robot.listen_to_outputs()
    robot.add(robot.prompt("box", box=BOX))
    label = robot.process().objects[0].label

    # deactivate stops work and keeps the objects
    assert robot.transition("deactivate")
    robot.wait_for("the subscription to end", lambda: robot.node.count_subscribers("/camera/image_raw") == 0)
    assert robot.diagnostics()["tracking"] == {"level": 0, "message": "node is inactive"}
    assert robot.transition("activate")
    robot.wait_until_tracking()
    assert [(obj.id, obj.label) for obj in robot.process().objects] == [("box", label)]

    # cleanup forgets everything, and the model can be loaded again
    assert robot.transition("deactivate")
    assert robot.transition("cleanup")
    assert robot.state() == "unconfigured"
    assert "device" not in robot.diagnostics()
    assert robot.transition("configure")
    assert robot.transition("activate")
    robot.wait_until_tracking()
    assert robot.process().objects == []


def test_every_parameter_is_declared_with_its_description_range_and_flag(robot):
    names = robot.call(ListParameters, "list_parameters", ListParameters.Request()).result.names
    assert {entry.name for entry in PARAMETERS} <= set(names)
    request = DescribeParameters.Request(names=[entry.name for entry in PARAMETERS])
    descriptors = robot.call(DescribeParameters, "describe_parameters", request).descriptors
    for entry, descriptor in zip(PARAMETERS, descriptors, strict=True):
        assert descriptor.description == entry.description
        assert descriptor.read_only == entry.read_only
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert [(r.from_value, r.to_value) for r in ranges] == ([entry.range] if entry.range else [])


def test_a_parameter_changes_at_run_time_or_says_why_not(robot):
    assert robot.set_parameter("lost_after", 3.0).successful
    assert robot.set_parameter("present_on", 2.0).successful
    refused = robot.set_parameter("present_off", 2.5)
    assert not refused.successful
    assert "at most present_on = 2.0" in refused.reason
    fixed = robot.set_parameter("max_objects", 3)
    assert not fixed.successful
    assert "max_objects is read once" in fixed.reason
    assert not robot.set_parameter("lost_after", -1.0).successful


def test_shutdown_is_the_last_state(robot):
    assert robot.transition("shutdown")
    assert robot.state() == "finalized"
