# SPDX-License-Identifier: Apache-2.0
"""Installed as users install it, away from the clone, the package finds nano, its messages and its programs.

Three ways: a wheel in a fresh virtual environment, a colcon workspace, and that with symbolic links.
No network: dependencies are those of the running interpreter.
"""

from __future__ import annotations

import os
import shutil
import sys
import venv
from pathlib import Path

import pytest
from colcon_workspace import ROOT, colcon_build, copy_of_clone, need_colcon, run

pytestmark = pytest.mark.slow

# What an installed package must find by itself; prints where its code is, for the caller to compare.
LOOK_AROUND = """
import jinja2
import sam2_ros
from sam2_ros.media.messages.message_types import definitions
from sam2_ros.weights import load_model
from sam2_ros.weights.catalogue import models_dir
assert "sam2_ros_msgs/msg/Prompt" in definitions()
assert {"page.html", "report.css"} <= set(jinja2.PackageLoader("sam2_ros.eval.report").list_templates())
assert load_model("nano", device="cpu").parameter_count > 0
print(sam2_ros.__file__)
print(models_dir())
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the clone, so that building leaves nothing in it."""
    return copy_of_clone(tmp_path_factory.mktemp("source"))


def test_a_wheel_works_in_a_fresh_environment(source: Path, tmp_path: Path) -> None:
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path, source]
    run(sys.executable, "-m", "pip", *build, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    bin_dir = tmp_path / "venv" / "bin"
    site_packages = tmp_path / "venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    here = Path(pytest.__file__).resolve().parent.parent
    # A plain path in a .pth: the dependencies are seen, the editable install of this clone is not.
    (site_packages / "dependencies.pth").write_text(f"{here}\n")
    install = ["--python", bin_dir / "python", "install", "--no-deps", "--no-index", wheel]
    run(sys.executable, "-m", "pip", *install, cwd=tmp_path)

    package, models = run(bin_dir / "python", "-c", LOOK_AROUND, cwd=tmp_path).split()
    assert Path(package).is_relative_to(site_packages)
    assert Path(models) == tmp_path / "venv" / "share" / "sam2_ros" / "models"
    assert "nano" in run(bin_dir / "sam2-ros", "models", "list", cwd=tmp_path)
    assert (bin_dir / "sam2_node").is_file()
    assert (tmp_path / "venv" / "share" / "sam2_ros" / "launch" / "sam2.launch.py").is_file()
    assert (tmp_path / "venv" / "share" / "sam2_ros" / "config" / "fastdds.xml").is_file()
    assert (tmp_path / "venv" / "share" / "sam2_ros" / "config" / "train" / "finetune.yaml").is_file()


@pytest.fixture(scope="module")
def workspace(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ws/src/sam2_ros: where a robot's packages lie."""
    need_colcon()
    ws = tmp_path_factory.mktemp("workspace")
    (ws / "src").mkdir()
    shutil.copytree(source, ws / "src" / "sam2_ros")
    return ws


def check_install_space(ws: Path, source_or_install: Path) -> None:
    """As `ros2 run` would: the program from lib/, with the workspace sourced."""

    def sourced(command: str) -> str:
        return run("bash", "-c", f"source install/setup.bash && {command}", cwd=ws)

    prefix = ws / "install" / "sam2_ros"
    find = "import ament_index_python as a; print(a.get_package_prefix('sam2_ros'))"
    assert Path(sourced(f'python -c "{find}"').strip()) == prefix
    for program in ("sam2-ros", "sam2_node"):
        assert os.access(prefix / "lib" / "sam2_ros" / program, os.X_OK)
    assert "nano" in sourced("install/sam2_ros/lib/sam2_ros/sam2-ros models list")
    package, models = sourced(f"python -c '{LOOK_AROUND}'").split()
    assert Path(package).resolve().is_relative_to(source_or_install)
    assert Path(models).resolve().is_relative_to(source_or_install)


def test_a_colcon_workspace_builds_both_packages_and_runs_them(workspace: Path) -> None:
    colcon_build(workspace)
    check_install_space(workspace, workspace / "install" / "sam2_ros")
    share = workspace / "install" / "sam2_ros" / "share" / "sam2_ros"
    for folder in ("launch", "config"):
        shipped = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        assert {path.name for path in (share / folder).iterdir() if path.is_file()} == shipped
    # The messages are the workspace's own, not those of the environment that built it.
    where = "import sam2_ros_msgs.msg as m; m.TrackedObjectArray(); print(m.__file__)"
    printed = run("bash", "-c", f"source install/setup.bash && python -c '{where}'", cwd=workspace)
    assert Path(printed.strip()).is_relative_to(workspace / "install" / "sam2_ros_msgs")


def test_a_symlinked_install_finds_the_same(workspace: Path) -> None:
    shutil.rmtree(workspace / "install" / "sam2_ros", ignore_errors=True)
    shutil.rmtree(workspace / "build" / "sam2_ros", ignore_errors=True)
    colcon_build(workspace, "--packages-select", "sam2_ros", "--symlink-install")
    check_install_space(workspace, workspace / "src" / "sam2_ros")
