# SPDX-License-Identifier: Apache-2.0
"""sam2_ros_msgs has exactly the fields of the public interface, and parses without ROS.

Does not compile the messages: `make env` does, and test/ros uses them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sam2_ros.media.messages.message_types import definitions

ROOT = Path(__file__).resolve().parents[2]

# The public interface: a change here needs a migration note in the CHANGELOG.
MESSAGES = {
    "PromptPoint": "float32 x, float32 y, bool positive",
    "Prompt": (
        "std_msgs/Header header, string id, string class_id, PromptPoint[] points, float32[] box, "
        "sensor_msgs/Image mask, bool replace"
    ),
    "PromptEvent": (
        "uint8 APPLIED=0, uint8 LATE=1, uint8 REJECTED=2, uint8 REMOVED=3, std_msgs/Header header, string id, "
        "string source, Prompt prompt, uint8 outcome, string reason"
    ),
    "PromptArray": "std_msgs/Header header, Prompt[] prompts",
    "TrackedObject": (
        "uint8 PENDING=0, uint8 TRACKING=1, uint8 OCCLUDED=2, uint8 LOST=3, string id, uint16 label, "
        "string class_id, uint8 state, float32 score, float32 presence, float32 age, "
        "sensor_msgs/RegionOfInterest roi, sensor_msgs/Image mask, geometry_msgs/Point centroid, "
        "uint32 area, bool has_position, geometry_msgs/Point position, geometry_msgs/Vector3 size, "
        "geometry_msgs/Vector3 velocity"
    ),
    "TrackedObjectArray": (
        "std_msgs/Header header, string position_frame_id, uint32 image_height, uint32 image_width, "
        "TrackedObject[] objects"
    ),
    "ObjectStatus": (
        "string id, uint16 label, string class_id, uint8 state, float32 score, float32 presence, float32 age, "
        "sensor_msgs/RegionOfInterest roi, bool has_position, geometry_msgs/Pose pose, "
        "geometry_msgs/Vector3 size, geometry_msgs/Vector3 velocity, float32 position_stddev"
    ),
    "ObjectStatusArray": "std_msgs/Header header, string position_frame_id, ObjectStatus[] objects",
}
SERVICES = {
    "AddObjects": ("Prompt[] prompts", "bool success, string message, string[] ids"),
    "Enroll": (
        "sensor_msgs/Image[] images, Prompt[] prompts, string id, string class_id, string path",
        "bool success, string message, string id",
    ),
    "LoadState": ("string path, string[] ids, bool merge", "bool success, string message, string[] ids"),
    "ObjectCloud": (
        "string id, bool organized",
        "bool success, string message, sensor_msgs/PointCloud2 cloud",
    ),
    "PublishMask": ("string id, bool on", "bool success, string message, string topic"),
    "RemoveObjects": ("string[] ids", "bool success, string message, string[] ids"),
    "SaveState": ("string path, string[] ids", "bool success, string message, string[] ids"),
    "Segment": (
        "sensor_msgs/Image image, Prompt[] prompts, bool multimask",
        "bool success, string message, TrackedObjectArray result",
    ),
}

ACTIONS = {
    "TrackUntil": (
        "uint8 VISIBLE=0, uint8 LOST=1, uint8 STABLE=2, uint8 DURATION=3, Prompt prompt, string id, uint8 until, "
        "builtin_interfaces/Duration timeout, builtin_interfaces/Duration stable_for",
        "bool success, string message, ObjectStatus status",
        "ObjectStatus status",
    ),
}


def fields_of(text: str) -> str:
    """The declarations of a definition in order, without comments and spacing."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return ", ".join(" ".join(words) for words in lines if words)


def test_nothing_is_missing_and_nothing_is_extra() -> None:
    assert set(definitions()) == {f"sam2_ros_msgs/msg/{name}" for name in MESSAGES}
    assert set(definitions("srv")) == {f"sam2_ros_msgs/srv/{name}" for name in SERVICES}
    assert set(definitions("action")) == {f"sam2_ros_msgs/action/{name}" for name in ACTIONS}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_has_exactly_the_promised_fields(name: str) -> None:
    assert fields_of(definitions()[f"sam2_ros_msgs/msg/{name}"]) == MESSAGES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_exactly_the_promised_fields(name: str) -> None:
    request, response = definitions("srv")[f"sam2_ros_msgs/srv/{name}"].split("\n---\n")
    assert (fields_of(request), fields_of(response)) == SERVICES[name]


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_has_exactly_the_promised_fields(name: str) -> None:
    parts = definitions("action")[f"sam2_ros_msgs/action/{name}"].split("\n---\n")
    assert tuple(fields_of(part) for part in parts) == ACTIONS[name]


def test_the_messages_parse_and_survive_a_round_trip_without_ros() -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in definitions().items():
        store.register(get_types_from_msg(text, name))
    point_type = store.types["sam2_ros_msgs/msg/PromptPoint"]
    raw = store.serialize_cdr(point_type(x=1.5, y=-2.0, positive=True), "sam2_ros_msgs/msg/PromptPoint")
    point = store.deserialize_cdr(raw, "sam2_ros_msgs/msg/PromptPoint")
    assert (point.x, point.y, point.positive) == (1.5, -2.0, True)
    tracked = store.types["sam2_ros_msgs/msg/TrackedObject"]
    assert (tracked.PENDING, tracked.TRACKING, tracked.OCCLUDED, tracked.LOST) == (0, 1, 2, 3)


@pytest.mark.parametrize("name", [*definitions(), *definitions("srv"), *definitions("action")])
def test_every_field_is_explained_beside_it(name: str) -> None:
    text = {**definitions(), **definitions("srv"), **definitions("action")}[name]
    assert text.startswith("# ")
    declared = [line for line in text.splitlines() if line and not line.startswith("#") and line != "---"]
    assert [line for line in declared if not re.search(r"# \S", line)] == []


def test_cmake_generates_every_definition() -> None:
    text = (ROOT / "sam2_ros_msgs" / "CMakeLists.txt").read_text("utf-8")
    listed = re.findall(r'"((?:msg|srv|action)/\w+\.(?:msg|srv|action))"', text)
    package = ROOT / "sam2_ros_msgs"
    present = [
        path.relative_to(package) for kind in ("msg", "srv", "action") for path in package.glob(f"*/*.{kind}")
    ]
    assert sorted(listed) == sorted(path.as_posix() for path in present)
