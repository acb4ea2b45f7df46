# SPDX-License-Identifier: Apache-2.0
"""Cleanup, new parameters, configure: a live node changes its configuration without a restart. QoS overrides."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from random_models import random_model
from rcl_interfaces.srv import GetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sam2_ros_msgs.msg import ObjectStatusArray
from sensor_msgs.msg import Image

from sam2_ros.engine import config_for
from sam2_ros.errors import UserError
from sam2_ros.node.packages import require
from sam2_ros.weights.load import save_model

from .conftest import BOX, HEIGHT_PX, WIDTH_PX, scene, stamp_ns


def available(module: str) -> bool:
    try:
        require(module, module, "a test")
    except UserError:
        return False
    return True


THREE_D, DETECTOR = available("message_filters"), available("vision_msgs.msg")


def go(robot, *labels: str) -> None:
    for label in labels:
        assert robot.transition(label), f"{label}\n{robot.log()}"


def value_of(robot, name: str):
    request = GetParameters.Request(names=[name])
    return robot.call(GetParameters, "get_parameters", request).values[0]


@pytest.fixture(scope="module")
def robot(make_robot):
    return make_robot(max_objects=2, mask_topics="['first']")


def test_a_new_model_and_new_topics_come_with_the_next_configure(robot, tmp_path):
    """Set while active: accepted, reported as waiting, no effect until cleanup and configure."""
    save_model(random_model(config_for("nano")), tmp_path / "other.safetensors")
    robot.listen_to_outputs()
    masks = robot.listen(Image, "/sam2/mask/first")
    robot.add(robot.prompt("first", box=BOX))
    known = robot.process()
    robot.wait_for("the first mask", lambda: masks)
    before = robot.diagnostics()
    assert "waiting_for_configure" not in before

    wanted = {
        "model": str(tmp_path / "other.safetensors"),
        "image_size": 128,
        "max_objects": 1,
        "image_transport": "compressed",
        **({"use_3d": True} if THREE_D else {}),
        **({"detection_mode": "track_all"} if DETECTOR else {}),
    }
    for name, value in wanted.items():
        reply = robot.set_parameter(name, value)
        assert reply.successful, reply.reason
        assert reply.reason.startswith(f"{name}: takes effect at the next configure (deactivate, cleanup")
    assert value_of(robot, "image_size").integer_value == 128
    waiting = robot.diagnostics()
    assert set(waiting["waiting_for_configure"].split(", ")) == set(wanted)
    assert waiting["model"] == before["model"]
    assert waiting["topic"] == "/camera/image_raw"
    assert robot.set_parameter("lost_after", 2.0).reason == ""
    assert robot.add(robot.prompt("another", box=BOX)).success  # room for two, as at the last configure
    assert [obj.id for obj in robot.process().objects] == ["first", "another"]

    # The old topics exist until cleanup, then the new ones.
    go(robot, "deactivate", "cleanup")
    robot.wait_for("the publisher to end", lambda: not robot.node.count_publishers("/sam2/mask/first"))
    assert robot.set_parameter(
        "mask_topics", ["second"]
    ).successful  # at once, but there is nothing to make yet
    assert robot.diagnostics()["model"] == wanted["model"]
    go(robot, "configure")
    robot.wait_for("the line on the model", lambda: "input 128 px" in robot.log())
    robot.wait_for("the new publisher", lambda: robot.node.count_publishers("/sam2/mask/second"))
    assert not robot.node.count_publishers("/sam2/mask/first")
    if THREE_D:
        robot.wait_for("the cloud", lambda: robot.node.count_publishers("/sam2/object_cloud"))
        robot.wait_for("depth", lambda: robot.node.count_subscribers("/depth_image"))
    if DETECTOR:
        robot.wait_for("detections", lambda: robot.node.count_subscribers("/sam2/detections"))
    go(robot, "activate")
    summary = robot.diagnostics()
    assert "waiting_for_configure" not in summary
    assert summary["topic"] == "/camera/image_raw/compressed"
    assert robot.node.count_subscribers("/camera/image_raw") == 0

    # And back, so that the results are again those of the first model.
    go(robot, "deactivate", "cleanup")
    defaults = {"model": before["model"], "image_size": 256, "mask_topics": ["first"], "max_objects": 2}
    defaults |= {"image_transport": "raw"}
    defaults |= {"use_3d": False} if THREE_D else {}
    defaults |= {"detection_mode": "off"} if DETECTOR else {}
    for name, value in defaults.items():
        reply = robot.set_parameter(name, value)
        assert (reply.successful, reply.reason) == (True, "")  # unconfigured: nothing waits
    go(robot, "configure", "activate")
    robot.wait_until_tracking()
    assert not robot.node.count_publishers("/sam2/object_cloud")
    robot.add(robot.prompt("first", box=BOX))
    again = robot.process()
    assert [obj.area for obj in again.objects] == [known.objects[0].area]
    robot.wait_for("its mask", lambda: stamp_ns(masks[-1]) == stamp_ns(again))
    assert (masks[-1].height, masks[-1].width) == (HEIGHT_PX, WIDTH_PX)


def test_another_model_gives_other_masks(robot, tmp_path):
    save_model(random_model(config_for("nano")), tmp_path / "random.safetensors")

    def first_mask():
        go(robot, "deactivate", "cleanup", "configure", "activate")
        robot.wait_until_tracking()
        robot.add(robot.prompt("first", box=BOX))
        (obj,) = robot.process(scene()).objects
        return obj.area, obj.score, obj.presence

    own = first_mask()
    assert first_mask() == own
    assert robot.set_parameter("model", str(tmp_path / "random.safetensors")).successful
    assert first_mask() != own


def test_a_missing_model_fails_at_configure_and_a_valid_one_then_works(robot, model):
    go(robot, "deactivate", "cleanup")
    assert robot.set_parameter("model", "/nowhere.safetensors").successful
    assert not robot.transition("configure")
    assert robot.state() == "unconfigured"
    assert "/nowhere.safetensors" in robot.diagnostics()["tracking"]["message"]
    assert robot.set_parameter("model", model).successful
    go(robot, "configure", "activate")
    robot.wait_until_tracking()


def test_qos_overrides_of_topics_take_effect(make_robot):
    robot = make_robot(
        **{
            "qos_overrides./sam2/objects.publisher.reliability": "best_effort",
            "qos_overrides./sam2/status.publisher.durability": "transient_local",
            "qos_overrides./sam2/prompts.subscription.reliability": "best_effort",
            "qos_overrides./sam2/label_imag.publisher.depth": 5,
        }
    )

    def offered(topic):
        return robot.wait_for(topic, lambda: robot.node.get_publishers_info_by_topic(topic))[0].qos_profile

    def asked(topic):
        return robot.wait_for(topic, lambda: robot.node.get_subscriptions_info_by_topic(topic))[0].qos_profile

    for _ in range(2):  # the given value is kept after cleanup
        assert offered("/sam2/objects").reliability == ReliabilityPolicy.BEST_EFFORT
        assert offered("/sam2/status").reliability == ReliabilityPolicy.RELIABLE
        assert offered("/sam2/status").durability == DurabilityPolicy.TRANSIENT_LOCAL
        assert offered("/sam2/label_image").reliability == ReliabilityPolicy.RELIABLE
        assert asked("/sam2/prompts").reliability == ReliabilityPolicy.BEST_EFFORT
        assert asked("/sam2/clicked_point").reliability == ReliabilityPolicy.RELIABLE
        robot.wait_for("the node to be active", lambda: robot.state() == "active")
        go(robot, "deactivate", "cleanup")
        robot.wait_for("the end of the publisher", lambda: not robot.node.count_publishers("/sam2/objects"))
        go(robot, "configure", "activate")
    name = "qos_overrides./sam2/objects.publisher.reliability"
    refused = robot.set_parameter(name, "reliable")
    assert not refused.successful
    assert f"{name} is read once" in refused.reason
    assert "qos_overrides./sam2/label_imag.publisher.depth: this node has no such topic" in robot.log()
    assert "qos_overrides./sam2/objects" not in robot.log().partition("label_imag")[0]


def test_a_late_subscriber_gets_the_last_message_of_a_transient_local_output(make_robot):
    robot = make_robot(**{"qos_overrides./sam2/status.publisher.durability": "transient_local"})
    robot.listen_to_outputs()  # but not to ~/status
    stamp = stamp_ns(robot.process())
    late = []
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.node.create_subscription(ObjectStatusArray, "/sam2/status", late.append, qos)
    robot.wait_for("the last status, with no new image", lambda: late)
    assert stamp_ns(late[0]) == stamp
