# SPDX-License-Identifier: Apache-2.0
"""The files that describe the project agree with each other: versions, licence, addresses, dependencies, executables.

Builds nothing: test_install_spaces.py does.
"""

from __future__ import annotations

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

import sam2_ros

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = [ROOT / "package.xml", ROOT / "sam2_ros_msgs" / "package.xml"]
REPOSITORY = "https://github.com/sam2-ros/sam2_ros"
PINS = [ROOT / "scripts" / "requirements.txt", ROOT / "scripts" / "requirements-ros.txt"]
ROS_MODULES = {
    "ament_index_python",
    "cv_bridge",
    "launch",
    "launch_ros",
    "message_filters",
    "rclpy",
    "rosidl_runtime_py",
    "tf2_ros",
}


def manifest_text(manifest: Path, tag: str) -> str:
    element = ET.parse(manifest).getroot().find(tag)
    assert element is not None, f"{manifest} has no <{tag}>"
    assert element.text, f"{manifest}: <{tag}> is empty"
    return element.text


@pytest.fixture(scope="module")
def setup_keywords() -> dict[str, Any]:
    """What setup.py passes to setup()."""
    keywords: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("setuptools.setup", lambda **given: keywords.update(given))
        runpy.run_path(str(ROOT / "setup.py"))
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


def prepare_release(root: Path, version: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "scripts" / "set_version.py"
    command = [sys.executable, str(script), version, "--root", str(root), "--date", "2031-02-03"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def versioned(tmp_path: Path) -> Path:
    """A copy of the files that have a version."""
    shutil.copytree(ROOT / "sam2_ros_msgs", tmp_path / "sam2_ros_msgs")
    for name in ("package.xml", "CHANGELOG.rst", "sam2_ros/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_release_is_prepared_by_one_command(versioned: Path) -> None:
    assert prepare_release(versioned, "98.7.6").returncode == 0
    assert '__version__ = "98.7.6"\n' in (versioned / "sam2_ros" / "__init__.py").read_text("utf-8")
    for folder in (versioned, versioned / "sam2_ros_msgs"):
        assert manifest_text(folder / "package.xml", "version") == "98.7.6"
        text = (folder / "CHANGELOG.rst").read_text("utf-8")
        assert text.split("\n", 4)[4].startswith("98.7.6 (2031-02-03)\n-------------------\n")
        assert "Forthcoming" not in text
    # The next release, with nothing under "Forthcoming".
    assert prepare_release(versioned, "98.8.0").returncode == 0
    text = (versioned / "CHANGELOG.rst").read_text("utf-8")
    assert (
        "\n\n98.8.0 (2031-02-03)\n-------------------\n* No changes: released with the other package.\n\n98.7.6"
        in text
    )


def test_one_description_everywhere(setup_keywords: dict[str, Any]) -> None:
    description = ET.parse(ROOT / "package.xml").getroot().findtext("description", "")
    assert setup_keywords["description"] == description


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0.0.1", "version 0.0.1: sam2_ros/__init__.py has .* already, expected a greater one"),
        ("1.2", "version '1.2': expected MAJOR.MINOR.PATCH"),
    ],
)
def test_an_invalid_release_writes_nothing(versioned: Path, version: str, said: str) -> None:
    before = {path: path.read_bytes() for path in versioned.rglob("*") if path.is_file()}
    done = prepare_release(versioned, version)
    assert done.returncode == 2
    assert re.search(said, done.stderr)
    assert {path: path.read_bytes() for path in versioned.rglob("*") if path.is_file()} == before


def test_one_address_everywhere(setup_keywords: dict[str, Any]) -> None:
    assert setup_keywords["url"] == REPOSITORY
    assert all(url.startswith(REPOSITORY) for url in setup_keywords["project_urls"].values())
    for manifest in MANIFESTS:
        urls = {url.get("type"): url.text for url in ET.parse(manifest).getroot().iter("url")}
        assert urls == {
            "website": REPOSITORY,
            "repository": REPOSITORY,
            "bugtracker": setup_keywords["project_urls"]["Issues"],
        }
    assert setup_keywords["maintainer_email"] in (ROOT / "SECURITY.md").read_text("utf-8")
    emails = {ET.parse(m).getroot().find("maintainer").get("email") for m in MANIFESTS}  # type: ignore[union-attr]
    assert emails == {setup_keywords["maintainer_email"]}


def test_the_readme_on_a_package_index_has_no_broken_link(setup_keywords: dict[str, Any]) -> None:
    assert setup_keywords["long_description_content_type"] == "text/markdown"
    assert setup_keywords["long_description"].startswith("# sam2_ros\n")
    targets = re.findall(r"\]\(([^)]+)\)", setup_keywords["long_description"])
    assert f"{REPOSITORY}/blob/main/docs/how-to/install.md" in targets
    assert not [target for target in targets if not target.startswith(("https://", "#"))]


def test_the_classifiers_name_the_pythons_that_make_env_takes(setup_keywords: dict[str, Any]) -> None:
    supported = re.search(
        r"^SUPPORTED = \(\(3, (\d+)\), \(3, (\d+)\)\)$",
        (ROOT / "scripts" / "make_env.py").read_text("utf-8"),
        re.MULTILINE,
    )
    assert supported is not None
    low, high = int(supported[1]), int(supported[2])
    assert setup_keywords["python_requires"] == f">=3.{low}"
    prefix = "Programming Language :: Python :: 3."
    named = [name for name in setup_keywords["classifiers"] if name.startswith(prefix)]
    assert named == [f"{prefix}{minor}" for minor in range(low, high + 1)]


def test_one_licence_everywhere(setup_keywords: dict[str, Any]) -> None:
    assert {manifest_text(manifest, "license") for manifest in MANIFESTS} == {"Apache-2.0"}
    assert setup_keywords["license"] == setup_keywords["license_expression"] == "Apache-2.0"
    assert setup_keywords["license_files"] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text("utf-8")
    for manifest in MANIFESTS:
        element = ET.parse(manifest).getroot().find("license")
        assert element is not None
        assert (manifest.parent / element.get("file", "")).read_text("utf-8") == text
    # Both install it.
    assert "LICENSE" in dict(setup_keywords["data_files"])["share/sam2_ros"]
    cmake = (ROOT / "sam2_ros_msgs" / "CMakeLists.txt").read_text("utf-8")
    assert "install(FILES LICENSE DESTINATION share/${PROJECT_NAME})" in cmake
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


def ros_packages_in(*folders: str) -> set[str]:
    """ROS packages that the Python files of these folders import, or look for with importorskip."""
    names = set()
    for folder in folders:
        for source in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(source.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module)
                elif isinstance(node, ast.Call) and "importorskip" in ast.dump(node.func):
                    names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    tops = {name.split(".")[0] for name in names}
    return {name for name in tops if name in ROS_MODULES or name.endswith(("_msgs", "_srvs", "_interfaces"))}


def test_the_manifest_names_every_ros_package_that_is_imported() -> None:
    declared: dict[str, set[str]] = {}
    for element in ET.parse(ROOT / "package.xml").getroot():
        declared.setdefault(element.tag, set()).add(element.text or "")
    at_run_time = declared["depend"] | declared["exec_depend"]
    assert {"rclpy", "sam2_ros_msgs"} <= ros_packages_in("sam2_ros")
    assert ros_packages_in("sam2_ros", "launch") <= at_run_time
    only_in_tests = ros_packages_in("test") - at_run_time
    assert declared["test_depend"] == only_in_tests | {"python3-pytest", "python3-hypothesis"}


def test_every_requirement_has_a_lower_bound(setup_keywords: dict[str, Any]) -> None:
    assert not [line for line in setup_keywords["install_requires"] if ">=" not in line]


@pytest.mark.parametrize("pins", [pytest.param(path, id=path.name) for path in PINS])
def test_every_pin_has_its_hashes(pins: Path) -> None:
    lines = pins.read_text("utf-8").splitlines()
    assert lines[1].split() == ["#", "make", "pins"]
    packages = [at for at, line in enumerate(lines) if "==" in line.split(";")[0] and line[0].isalnum()]
    assert len(packages) > 100
    for at in packages:
        assert re.match(r" +--hash=sha256:[0-9a-f]{64}", lines[at + 1]), lines[at]
    assert not [line for line in lines if not re.match(r"#| +--hash=|[a-z0-9._-]+==", line)]


def test_both_files_of_pins_agree() -> None:
    """A package in both has one version: the second installation would otherwise undo the first."""
    first, second = (
        {
            line.removesuffix(" \\")
            for line in pins.read_text("utf-8").splitlines()
            if re.match(r"[a-z0-9._-]+==", line)
        }
        for pins in PINS
    )
    shared = {line.split("==")[0] for line in first} & {line.split("==")[0] for line in second}
    assert {"numpy", "pytest", "setuptools"} <= shared
    versions = [
        {line.split(" ")[0] for line in one if line.split("==")[0] in shared} for one in (first, second)
    ]
    assert versions[1] <= versions[0]


def test_what_pip_installs_is_pinned_for_the_environment_of_make(setup_keywords: dict[str, Any]) -> None:
    pinned = {
        re.split(r"==", line)[0].replace("_", "-").lower()
        for line in PINS[0].read_text("utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    }
    wanted = {
        re.split(r"[<>=!\[ ;]", line)[0].replace("_", "-").replace(".", "-").lower()
        for line in sum(
            (setup_keywords["extras_require"][extra] for extra in ("docs", "onnx", "test", "ui")),
            setup_keywords["install_requires"],
        )
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
    """find_packages skips a folder without __init__.py silently, and the wheel lacks it."""
    folders = {source.parent for source in (ROOT / "sam2_ros").rglob("*.py")}
    assert not [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()]


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert commands[-1] == 'exec make "${@:-test}"'
