"""The parameter files name exactly the node's parameters, and the launch file is one that launch accepts.

Starts nothing: test/ros runs the node.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from sam2_ros.node.params import PARAMETERS, NodeParams, plain

ROOT = Path(__file__).resolve().parents[2]
PROFILES = sorted((ROOT / "config").glob("*.yaml"))
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
FAST_DDS = {"dds": "http://www.eprosima.com"}


def parameters_in(profile: Path) -> dict[str, Any]:
    parameters: dict[str, Any] = yaml.safe_load(profile.read_text("utf-8"))["/**"]["ros__parameters"]
    return parameters


def comment_above(profile: Path, name: str) -> str:
    lines = profile.read_text("utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if line.strip().startswith(f"{name}:"))
    comment = []
    while lines[at - 1].strip().startswith("#"):
        at -= 1
        comment.insert(0, lines[at].strip(" #"))
    return " ".join(comment)


def named(paths: list[Path]) -> list[Any]:
    return [pytest.param(path, id=path.name) for path in paths]


def test_the_profiles_are_there() -> None:
    assert [profile.name for profile in PROFILES] == ["cpu.yaml", "desktop.yaml", "jetson.yaml"]


@pytest.mark.parametrize("profile", named(PROFILES))
def test_a_profile_sets_every_parameter_of_the_node_and_no_other(profile: Path) -> None:
    assert sorted(parameters_in(profile)) == sorted(entry.name for entry in PARAMETERS)


@pytest.mark.parametrize("profile", named(PROFILES))
def test_a_profile_has_values_of_the_right_type_that_the_node_accepts(profile: Path) -> None:
    values = parameters_in(profile)
    defaults = {entry.name: entry.default for entry in PARAMETERS}
    wrong = {
        name: value for name, value in values.items() if type(plain(value)) is not type(defaults[name])
    }  # ROS parameters do not convert: 1 for a double is an error at start
    assert not wrong
    assert NodeParams(**{name: plain(value) for name, value in values.items()}).unavailable() == []


@pytest.mark.parametrize("profile", named(PROFILES))
def test_every_parameter_is_explained_and_a_promise_not_kept_yet_is_named(profile: Path) -> None:
    for entry in PARAMETERS:
        comment = comment_above(profile, entry.name)
        assert len(comment.split()) >= 3, entry.name
        assert ("Not in this version" in comment) == (not entry.available), entry.name


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


@pytest.mark.parametrize("launch_file", named(LAUNCH_FILES))
def test_a_launch_file_compiles_and_names_files_that_exist(launch_file: Path) -> None:
    text = launch_file.read_text("utf-8")
    compile(text, str(launch_file), "exec")
    mentioned = set(re.findall(r'CONFIG / "([\w.]+)"', text))
    assert mentioned
    assert {name for name in mentioned if not (ROOT / "config" / name).is_file()} == set()


@pytest.mark.parametrize("launch_file", named(LAUNCH_FILES))
def test_launch_accepts_a_launch_file_and_every_argument_is_described(launch_file: Path) -> None:
    reason = "needs launch_ros, which has no wheel: run in a ROS 2 installation"
    pytest.importorskip("launch_ros", reason=reason)
    from launch import LaunchContext
    from launch.actions import SetEnvironmentVariable
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(launch_file))
    for argument in description.get_launch_arguments():
        assert argument.description
        assert argument.description != "no description given"
    context = LaunchContext()
    for action in description.entities:
        if isinstance(action, SetEnvironmentVariable):
            action.execute(context)
    for variable in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        assert Path(context.environment[variable]).is_file()
