# SPDX-License-Identifier: Apache-2.0
"""Every lifecycle transition by service, and parameters as `ros2 param` shows them, on one live node."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import DescribeParameters, ListParameters

from sam2_ros.node.parameters.params import PARAMETERS

from .conftest import BOX, START_TIMEOUT_S


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
    robot.wait_for("the line on the model", lambda: "input 512 px" in robot.log())

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

    # cleanup removes all objects, and the model can be loaded again
    assert robot.transition("deactivate")
    assert robot.transition("cleanup")
    assert robot.state() == "unconfigured"
    assert "device" not in robot.diagnostics()
    assert robot.transition("configure")
    assert robot.transition("activate")
    robot.wait_until_tracking()
    assert robot.process().objects == []
    robot.add(robot.prompt("box", box=BOX))
    assert robot.process().objects[0].label > label  # labels are never given twice, not even after cleanup


def test_a_lifecycle_manager_starts_pauses_resets_and_ends_the_node(make_robot):
    """The calls of nav2_lifecycle_manager without bonds: each transition by its id, then get_state."""
    robot = make_robot(autostart=False)
    configure, cleanup, activate, deactivate = (
        (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED),
        (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
        (Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE),
    )
    shutdown = (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, State.PRIMARY_STATE_FINALIZED)

    def walk(*steps):
        for transition, expected in steps:
            request = ChangeState.Request(transition=Transition(id=transition))
            assert robot.call(ChangeState, "change_state", request, START_TIMEOUT_S).success, transition
            assert robot.call(GetState, "get_state", GetState.Request()).current_state.id == expected

    walk(configure, activate)  # STARTUP
    robot.listen_to_outputs()
    robot.add(robot.prompt("box", box=BOX))
    assert [obj.id for obj in robot.process().objects] == ["box"]
    walk(deactivate)  # PAUSE
    walk(activate)  # RESUME
    robot.wait_until_tracking()
    assert [obj.id for obj in robot.process().objects] == ["box"]
    walk(deactivate, cleanup)  # RESET
    walk(configure, activate)
    robot.wait_until_tracking()
    assert robot.process().objects == []
    walk(deactivate, cleanup, shutdown)  # SHUTDOWN
    assert robot.process_handle.poll() is None  # whoever started the process ends it


@pytest.mark.slow
def test_cleanup_gives_the_memory_back(make_robot, tmp_path):
    """With a model large enough to measure: tiny, with random weights."""
    from random_models import random_model

    from sam2_ros.engine import config_for
    from sam2_ros.weights.load import save_model

    save_model(random_model(config_for("tiny")), tmp_path / "tiny.safetensors")
    robot = make_robot(autostart=False, model=str(tmp_path / "tiny.safetensors"))

    def held_mb():
        summary = robot.diagnostics()
        return float(summary.get("device_memory_mb", 0.0)) + float(summary["resident_mb"])

    before_mb = held_mb()
    assert robot.transition("configure")
    loaded_mb = held_mb()
    assert robot.transition("cleanup")
    after_mb = held_mb()
    print(
        f"\n{before_mb:.0f} MB unconfigured, {loaded_mb:.0f} MB configured, {after_mb:.0f} MB after cleanup"
    )
    assert loaded_mb - before_mb > 150  # its weights alone
    assert after_mb - before_mb < 0.4 * (loaded_mb - before_mb)


def test_every_parameter_is_declared_with_its_description_range_and_flag(robot):
    names = robot.call(ListParameters, "list_parameters", ListParameters.Request()).result.names
    assert set(PARAMETERS) <= set(names)
    request = DescribeParameters.Request(names=list(PARAMETERS))
    descriptors = robot.call(DescribeParameters, "describe_parameters", request).descriptors
    for entry, descriptor in zip(PARAMETERS.values(), descriptors, strict=True):
        assert descriptor.description == entry.description
        assert descriptor.read_only == (entry.when == "start")
        assert ("takes effect at the next configure" in descriptor.additional_constraints) == (
            entry.when == "configure"
        )
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert [(r.from_value, r.to_value) for r in ranges] == ([entry.range] if entry.range else [])


def test_a_parameter_changes_at_run_time_or_says_why_not(robot):
    assert robot.set_parameter("lost_after", 3.0).successful
    assert robot.set_parameter("present_on", 2.0).successful
    refused = robot.set_parameter("present_off", 2.5)
    assert not refused.successful
    assert "at most present_on = 2.0" in refused.reason
    fixed = robot.set_parameter("autostart", True)
    assert not fixed.successful
    assert "autostart is read once" in fixed.reason
    later = robot.set_parameter("max_objects", 3)
    assert later.successful
    assert later.reason.startswith("max_objects: takes effect at the next configure")
    assert robot.diagnostics()["waiting_for_configure"] == "max_objects"
    assert not robot.set_parameter("lost_after", -1.0).successful


def test_shutdown_is_the_last_state(robot):
    assert robot.transition("shutdown")
    assert robot.state() == "finalized"
