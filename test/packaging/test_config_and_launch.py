# SPDX-License-Identifier: Apache-2.0
"""Parameter files name the node's parameters, the views of RViz and Foxglove its topics, launch files existing files.

Needs no ROS: test_launch.py gives the launch files to launch, test/ros/test_launch.py starts them.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from sam2_ros.node.parameters.params import PARAMETERS, NodeParams

ROOT = Path(__file__).resolve().parents[2]
PROFILES = sorted((ROOT / "config").glob("*.yaml"))
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
RVIZ = ROOT / "config" / "sam2.rviz"
FOXGLOVE = ROOT / "config" / "foxglove.json"
FAST_DDS = {"dds": "http://www.eprosima.com"}


def parameters_in(profile: Path) -> dict[str, Any]:
    parameters: dict[str, Any] = yaml.safe_load(profile.read_text("utf-8"))["/**"]["ros__parameters"]
    return parameters


def plain(value: Any) -> Any:
    """The value as in the dataclass: lists as tuples."""
    return tuple(value) if isinstance(value, list) else value


def topics_in_rviz() -> list[tuple[str, bool]]:
    """(topic, whether its display is on) of every display that has one."""
    view = yaml.safe_load(RVIZ.read_text("utf-8"))["Visualization Manager"]
    return [(d["Topic"]["Value"], d["Enabled"]) for d in view["Displays"] if "Topic" in d]


def reference(module: str) -> Any:
    """A module of scripts/reference."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module(f"reference.{module}")
    finally:
        sys.path.pop(0)


def topics_of(kind: str) -> dict[str, str]:
    """Topic -> type of the inputs ("in") or outputs ("out") of the node, as its code makes them."""
    found = reference("topics").endpoints()
    return {
        each.name.replace("~", "/sam2"): each.type.replace("/", "/msg/")
        for each in found
        if each.kind == kind
    }


def panels_in(layout: Any) -> list[str]:
    """Ids of the panels of a node of Foxglove's layout tree."""
    if isinstance(layout, str):
        return [layout]
    assert layout["direction"] in ("row", "column")
    return panels_in(layout["first"]) + panels_in(layout["second"])


def named(paths: list[Path]) -> list[Any]:
    return [pytest.param(path, id=path.name) for path in paths]


def test_the_profiles_are_there() -> None:
    assert [profile.name for profile in PROFILES] == ["cpu.yaml", "desktop.yaml", "jetson.yaml"]


def test_one_file_holds_every_parameter_with_its_default() -> None:
    values = {name: plain(value) for name, value in parameters_in(PROFILES[1]).items()}
    assert values == {spec.name: spec.default for spec in PARAMETERS.values()}
    assert list(values) == list(PARAMETERS)


@pytest.mark.parametrize("profile", named([PROFILES[0], PROFILES[2]]))
def test_the_others_hold_only_what_differs(profile: Path) -> None:
    for name, value in parameters_in(profile).items():
        assert plain(value) != PARAMETERS[name].default, name


@pytest.mark.parametrize("profile", named(PROFILES))
def test_a_profile_has_values_of_the_right_type_that_the_node_accepts(profile: Path) -> None:
    values = {name: plain(value) for name, value in parameters_in(profile).items()}
    wrong = {
        name: value for name, value in values.items() if type(value) is not type(PARAMETERS[name].default)
    }
    assert not wrong
    NodeParams(**values)


def test_the_complete_file_and_the_page_of_the_parameters_are_as_the_code_declares_them() -> None:
    parameters = reference("parameters")
    for path, content in parameters.generated_files().items():
        assert path.read_text("utf-8") == content, "python scripts/reference_pages.py writes it anew"
    page = parameters.PAGE.read_text("utf-8")
    for name in PARAMETERS:
        assert f"\n| `{name}`<br>" in page


def test_the_fast_dds_profile_carries_large_images() -> None:
    root = ET.parse(ROOT / "config" / "fastdds.xml").getroot()
    transports = {
        transport.findtext("dds:type", "", FAST_DDS): transport
        for transport in root.iterfind(".//dds:transport_descriptor", FAST_DDS)
    }
    assert set(transports) == {"SHM", "UDPv4"}
    segment_bytes = int(transports["SHM"].findtext("dds:segment_size", "0", FAST_DDS))
    message_bytes = int(transports["SHM"].findtext("dds:maxMessageSize", "0", FAST_DDS))
    assert (segment_bytes, message_bytes) == (64 << 20, 16 << 20)
    used = {element.text for element in root.iterfind(".//dds:userTransports/dds:transport_id", FAST_DDS)}
    assert used == {transport.findtext("dds:transport_id", "", FAST_DDS) for transport in transports.values()}
    participant = root.find(".//dds:participant", FAST_DDS)
    assert participant is not None
    assert participant.get("is_default_profile") == "true"


def test_the_rviz_view_is_one_that_rviz_2_loads() -> None:
    view = yaml.safe_load(RVIZ.read_text("utf-8"))["Visualization Manager"]
    displays = {display["Class"].split("/")[1]: display for display in view["Displays"]}
    assert set(displays) == {"Grid", "TF", "Image", "MarkerArray", "PointCloud2"}
    assert all(display["Class"].startswith("rviz_default_plugins/") for display in view["Displays"])
    assert displays["PointCloud2"]["Color Transformer"] == "RGB8"
    # Displays that are off subscribe to nothing, so the node does not compute these outputs.
    shown = {topic: enabled for topic, enabled in topics_in_rviz() if not enabled}
    assert set(shown) == {"/sam2/label_image"}


def test_the_rviz_view_asks_for_what_the_node_offers() -> None:
    topics = dict(topics_in_rviz())
    assert set(topics) == {
        f"/sam2/{name}" for name in ("debug_image", "label_image", "markers", "object_cloud")
    }
    view = yaml.safe_load(RVIZ.read_text("utf-8"))["Visualization Manager"]
    for display in view["Displays"]:
        if "Topic" in display:
            assert display["Topic"]["Reliability Policy"] == "Reliable"
            assert display["Topic"]["Durability Policy"] == "Volatile"


def test_the_rviz_view_clicks_where_the_node_listens() -> None:
    view = yaml.safe_load(RVIZ.read_text("utf-8"))["Visualization Manager"]
    (tool,) = [tool for tool in view["Tools"] if tool["Class"] == "rviz_default_plugins/PublishPoint"]
    assert tool["Topic"]["Value"] == "/sam2/clicked_point"
    assert topics_of("in")["/sam2/clicked_point"] == "geometry_msgs/msg/PointStamped"


def test_the_foxglove_layout_shows_every_panel_once_under_a_type_that_foxglove_has() -> None:
    layout = json.loads(FOXGLOVE.read_text("utf-8"))
    assert set(layout) == {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"}
    configs = layout["configById"]
    shown = panels_in(layout["layout"])
    for tab in [panel for panel in shown if panel.startswith("Tab!")]:
        shown += [panel for each in configs[tab]["tabs"] for panel in panels_in(each["layout"])]
    assert sorted(shown) == sorted(configs)
    types = {panel.partition("!")[0] for panel in configs}
    assert types == {"3D", "DiagnosticSummary", "Image", "RawMessages", "Tab", "Table"}


def test_the_foxglove_layout_names_topics_that_the_node_has() -> None:
    configs = json.loads(FOXGLOVE.read_text("utf-8"))["configById"]
    text = json.dumps(configs)
    named_topics = set(re.findall(r'"(/[a-z0-9_]+(?:/[a-z0-9_]+)*)[."]', text))
    offered, heard = topics_of("out"), topics_of("in")
    assert named_topics == {
        "/image_raw",  # the camera's, as the launch file's default
        "/diagnostics",
        *(
            f"/sam2/{name}"
            for name in ("annotations", "debug_image", "label_image", "object_cloud", "markers", "status")
        ),
        "/sam2/prompt_events",
        "/sam2/clicked_point",
    }
    assert named_topics - {"/image_raw", "/sam2/clicked_point"} <= set(offered)
    assert heard["/sam2/clicked_point"] == "geometry_msgs/msg/PointStamped"
    assert configs["3D!world"]["publish"] == {"type": "point", "pointTopic": "/sam2/clicked_point"}
    assert configs["Image!camera"]["imageMode"]["publish"]["cursorClickTopic"] == "/sam2/clicked_point"
    (annotations,) = configs["Image!camera"]["imageMode"]["annotations"]
    assert offered[annotations] == "foxglove_msgs/msg/ImageAnnotations"
    for topic in configs["3D!world"]["topics"]:
        assert offered[topic] in ("sensor_msgs/msg/PointCloud2", "visualization_msgs/msg/MarkerArray")
    for panel in ("Image!debug", "Image!labels"):
        assert offered[configs[panel]["imageMode"]["imageTopic"]] == "sensor_msgs/msg/Image"
    status = ROOT / "sam2_ros_msgs" / "msg" / "ObjectStatusArray.msg"
    assert "ObjectStatus[] objects" in status.read_text("utf-8")  # /sam2/status.objects


def test_the_launch_files_are_there() -> None:
    names = [
        "foundationpose.launch.py",
        "realsense_detector.launch.py",
        "replay.launch.py",
        "sam2.launch.py",
        "text_detector.launch.py",
    ]
    assert [launch_file.name for launch_file in LAUNCH_FILES] == names


@pytest.mark.parametrize("launch_file", named(LAUNCH_FILES))
def test_a_launch_file_compiles_and_names_files_that_exist(launch_file: Path) -> None:
    text = launch_file.read_text("utf-8")
    compile(text, str(launch_file), "exec")
    shipped = {path.name for folder in ("config", "launch") for path in (ROOT / folder).iterdir()}
    mentioned = set(re.findall(r'(?:CONFIG|\.parent) / "([\w.]+\.\w+)"', text))
    assert mentioned
    assert mentioned <= shipped
