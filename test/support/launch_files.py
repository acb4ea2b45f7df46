# SPDX-License-Identifier: Apache-2.0
"""Loads launch files and reads what they would start: for the tests of launch files. Needs launch_ros.

Starts no process. Packages that only have to be found are empty folders of the test.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("launch_ros", reason="needs launch_ros, which has no wheel: run in a ROS 2 installation")

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument
from launch.launch_description_sources import get_launch_description_from_python_launch_file

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
CONFIG = LAUNCH.parent / "config"
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, LAUNCH / f"{name}.launch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def context_of(launch_file: str, **given: str) -> LaunchContext:
    """A context in which all of a launch file's arguments are declared, with these values."""
    context = LaunchContext()
    context.launch_configurations.update(given)
    for argument in get_launch_description_from_python_launch_file(
        str(LAUNCH / f"{launch_file}.launch.py")
    ).entities:
        if isinstance(argument, DeclareLaunchArgument):
            argument.visit(context)
    return context


def add_package(prefix: Path, package: str, *programs: str) -> Path:
    """Enough of an installed package to be found; returns its share folder."""
    marker = prefix / "share" / "ament_index" / "resource_index" / "packages" / package
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    for program in programs:
        path = prefix / "lib" / package / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
    share = prefix / "share" / package
    share.mkdir(parents=True, exist_ok=True)
    return share


def words_of(node: Any, context: LaunchContext) -> list[str]:
    """The command that a Node action would run."""
    node._perform_substitutions(context)
    context.extend_locals({"ros_specific_arguments": {"name": "__node:=x", "ns": "__ns:=x"}})
    return ["".join(part.perform(context) for part in word) for word in node.cmd]


def parameters_of(node: Any, context: LaunchContext) -> dict[str, Any]:
    """Merged values of the node's parameter files; the last file takes precedence."""
    import yaml

    words = words_of(node, context)
    files = [words[at + 1] for at, word in enumerate(words) if word == "--params-file"]
    values: dict[str, Any] = {}
    for file in files:
        for section in yaml.safe_load(Path(file).read_text("utf-8")).values():
            values.update(section["ros__parameters"])
    return values
