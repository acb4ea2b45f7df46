# SPDX-License-Identifier: Apache-2.0
"""The files that describe the project agree with each other: versions, licence, dependencies, executables.

Builds nothing: test_install_spaces.py does.
"""

from __future__ import annotations

import ast
import os
import re
import xml.etree.ElementTree as ET
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

import sam2_ros

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = [ROOT / "package.xml", ROOT / "sam2_ros_msgs" / "package.xml"]


def manifest_text(manifest: Path, tag: str) -> str:
    element = ET.parse(manifest).getroot().find(tag)
    assert element is not None, f"{manifest} has no <{tag}>"
    assert element.text, f"{manifest}: <{tag}> is empty"
    return element.text


@pytest.fixture(scope="module")
def setup_keywords() -> dict[str, Any]:
    """What setup.py passes to setup(), as far as it is written down literally."""
    tree = ast.parse((ROOT / "setup.py").read_text("utf-8"))
    call = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setup"
    )
    keywords = {}
    for keyword in call.keywords:
        try:
            keywords[keyword.arg or ""] = ast.literal_eval(keyword.value)
        except ValueError:
            continue  # computed: data_files, packages
    return keywords


def test_one_version_everywhere(setup_keywords: dict[str, Any]) -> None:
    versions = {
        setup_keywords["version"],
        sam2_ros.__version__,
        *(manifest_text(manifest, "version") for manifest in MANIFESTS),
    }
    assert len(versions) == 1


@pytest.mark.parametrize("folder", [ROOT, ROOT / "sam2_ros_msgs"], ids=["sam2_ros", "sam2_ros_msgs"])
def test_changelog_has_the_form_of_rep_132_and_the_current_version_first(folder: Path) -> None:
    text = (folder / "CHANGELOG.rst").read_text("utf-8")
    name = manifest_text(folder / "package.xml", "name")
    assert re.match(rf"\^+\nChangelog for package {name}\n\^+\n", text)
    versions = re.findall(
        r"^(\d+\.\d+\.\d+|Forthcoming)(?: \((\d{4}-\d{2}-\d{2})\))?\n(-+)$", text, re.MULTILINE
    )
    released = [(version, date) for version, date, _ in versions if version != "Forthcoming"]
    assert released[0][0] == manifest_text(folder / "package.xml", "version")
    assert all(date for _, date in released)


def test_one_licence_everywhere(setup_keywords: dict[str, Any]) -> None:
    assert {manifest_text(manifest, "license") for manifest in MANIFESTS} == {"Apache-2.0"}
    assert setup_keywords["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_pip_is_not_asked_for_ros_packages(setup_keywords: dict[str, Any]) -> None:
    asked = {re.split(r"[<>=!\[ ]", line)[0] for line in setup_keywords["install_requires"]}
    depends = {
        element.text
        for element in ET.parse(ROOT / "package.xml").getroot()
        if element.tag.endswith("depend") and not (element.text or "").startswith("python3-")
    }
    assert {"rclpy", "sam2_ros_msgs", "cv_bridge", "vision_msgs"} <= depends
    assert not asked & depends
    assert not {name for name in asked if name.startswith("ros-")}


def test_what_pip_installs_is_pinned_for_the_environment_of_make(setup_keywords: dict[str, Any]) -> None:
    pinned = {
        re.split(r"==", line)[0].replace("_", "-").lower()
        for line in (ROOT / "scripts" / "requirements.txt").read_text("utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    }
    wanted = {
        re.split(r"[<>=!\[ ;]", line)[0].replace("_", "-").replace(".", "-").lower()
        for line in setup_keywords["install_requires"] + setup_keywords["extras_require"]["test"]
    }
    assert wanted - pinned == {"torch"}  # chosen per machine, TORCH in the Makefile


def test_both_executables_are_declared_for_pip_and_for_ros2_run(setup_keywords: dict[str, Any]) -> None:
    assert setup_keywords["entry_points"]["console_scripts"] == [
        "sam2_node = sam2_ros.node.start:main",
        "sam2-ros = sam2_ros.cli.main:main",
    ]
    cfg = ConfigParser()
    cfg.read(ROOT / "setup.cfg")
    assert cfg["install"]["install_scripts"] == cfg["develop"]["script_dir"] == "$base/lib/sam2_ros"


def test_every_folder_with_code_is_a_package() -> None:
    """find_packages skips a folder without __init__.py without a word, and the wheel lacks it."""
    folders = {source.parent for source in (ROOT / "sam2_ros").rglob("*.py")}
    assert not [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()]


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "exec make test"
