# SPDX-License-Identifier: Apache-2.0
"""docs/reference/topics-and-services.md lists what a running node has: topics, services, types and reliability."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from rclpy.action import get_action_server_names_and_types_by_node

from .conftest import START_TIMEOUT_S

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "topics-and-services.md"
FOXGLOVE = PAGE.parents[2] / "config" / "foxglove.json"
EVERY_NODE = {"/rosout", "/parameter_events", "/clock", "/sam2/transition_event"}
OF_ACTIONS = "/_action/"
EVERY_NODE_SERVES = (
    r"/sam2/(\w*(parameter|transition)\w*|(get|change)_state|get_available_states|get_type_description)"
)


def listed(heading: str) -> dict[str, tuple[str, str]]:
    """Name -> (type, QoS) of a table, as the node under test resolves the names."""
    table = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(
        r"^\| `([^`]+)` \| \[?`(\w+)/(\w+)`\]?(?:\(#\w+\))?(?:, ([^<]+))?<br>", table, re.MULTILINE
    )
    kind = {"Services": "srv", "Actions": "action"}.get(heading, "msg")
    return {
        resolved(name): (f"{package}/{kind}/{message}", qos)
        for names, package, message, qos in rows
        for name in names.split(", ")
    }


def resolved(name: str) -> str:
    name = name.replace("~", "/sam2").replace("<id>", "cup")
    return name if name.startswith("/") else f"/camera/{name}" if name.startswith("image_raw") else f"/{name}"


def test_the_page_lists_what_a_running_node_has(make_robot) -> None:
    parameters = {"mask_topics": "[cup]", "pose_topics": "[cup]", "cloud_topics": "[cup]"}
    if importlib.util.find_spec("message_filters"):
        parameters["use_3d"] = True
        if importlib.util.find_spec("tf2_msgs"):
            parameters["publish_tf"] = True
    if importlib.util.find_spec("vision_msgs"):
        parameters["detection_mode"] = "reseed"
    robot = make_robot(**parameters)
    robot.wait_for("the active state", lambda: robot.state() == "active", START_TIMEOUT_S)
    node = robot.node
    for heading, of_node, infos in (
        ("Topics out", node.get_publisher_names_and_types_by_node, node.get_publishers_info_by_topic),
        ("Topics in", node.get_subscriber_names_and_types_by_node, node.get_subscriptions_info_by_topic),
    ):
        page = listed(heading)
        assert len(page) >= 9
        here = {name: types for name, types in of_node("sam2", "/") if name not in EVERY_NODE}
        here = {name: types for name, types in here.items() if OF_ACTIONS not in name}
        assert set(here) <= set(page), heading
        for name, types in here.items():
            kind, qos = page[name]
            assert types == [kind], name
            reliability = next(
                info for info in infos(name) if info.node_name == "sam2"
            ).qos_profile.reliability
            if "reliable" in qos or "best effort" in qos:
                assert reliability.name.lower().replace("_", " ") == qos.partition(",")[0], name
        absent = set(page) - set(here) - {"/camera/image_raw/compressed"}
        unless = {"/tf", "/tf_static"}  # no target_frame
        if "use_3d" not in parameters:
            unless |= {"/depth_image", "/camera_info", "/sam2/object_cloud", "/sam2/markers"}
            unless |= {"/sam2/pose/cup", "/sam2/cloud/cup"}
        if "use_3d" not in parameters or "detection_mode" not in parameters:
            unless |= {"/sam2/detections", "/sam2/detections_2d", "/sam2/detections_3d"}
        if not importlib.util.find_spec("foxglove_msgs"):
            unless |= {"/sam2/annotations"}
        assert absent <= unless, heading
    layout = set(re.findall(r'"(/sam2/[a-z0-9_]+)', FOXGLOVE.read_text("utf-8")))
    out, to = (
        {name for name, _ in of_node("sam2", "/")}
        for of_node in (
            node.get_publisher_names_and_types_by_node,
            node.get_subscriber_names_and_types_by_node,
        )
    )
    assert layout & to == {"/sam2/clicked_point"}
    assert layout - to - out <= unless
    actions = dict(get_action_server_names_and_types_by_node(node, "sam2", "/"))
    assert {name: [kind] for name, (kind, _) in listed("Actions").items()} == actions
    page = listed("Services")
    here = {name: types for name, types in node.get_service_names_and_types() if name.startswith("/sam2/")}
    here = {name: types for name, types in here.items() if OF_ACTIONS not in name}
    here = {name: types for name, types in here.items() if not re.fullmatch(EVERY_NODE_SERVES, name)}
    assert {name: [kind] for name, (kind, _) in page.items()} == here
