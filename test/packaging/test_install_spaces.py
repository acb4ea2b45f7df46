# SPDX-License-Identifier: Apache-2.0
"""An installed package finds nano, its messages and its programs without the clone.

Installations: wheel and source distribution in empty environments; colcon workspaces, also with symbolic links, and
with the messages in a tree of their own. The empty environments get their dependencies from the package index; nothing
else needs a network.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest
from colcon_workspace import (
    ROOT,
    colcon_build,
    copy_of_clone,
    need_colcon,
    packages_found,
    run,
    split_messages,
)

pytestmark = pytest.mark.slow

# Checks what an installed package must find by itself; prints the folder of its code, which the caller compares.
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
    """A copy of the clone, so that building writes nothing into it."""
    return copy_of_clone(tmp_path_factory.mktemp("source"))


def test_a_wheel_works_in_a_fresh_environment(source: Path, tmp_path: Path) -> None:
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path, source]
    run(sys.executable, "-m", "pip", *build, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    bin_dir = tmp_path / "venv" / "bin"
    site_packages = tmp_path / "venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    here = Path(pytest.__file__).resolve().parent.parent
    # A plain path in a .pth makes the dependencies importable, but not the editable install of this clone.
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
def distributions(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source distribution, and the wheel made from it, of `python -m build`."""
    pytest.importorskip("build", reason="needs build: make env")
    folder = tmp_path_factory.mktemp("dist")
    probe = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(folder / "probe"),
        "iniconfig",
    ]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs a package index, and pip finds none")
    run(sys.executable, "-m", "build", "--outdir", folder, source, cwd=folder)
    return folder


def lend_torch(site_packages: Path) -> None:
    """Links this interpreter's PyTorch, with the CUDA libraries of its wheel, into another environment."""
    for distribution in importlib.metadata.distributions():
        if re.match(r"(torch|triton|nvidia[-_].*|cuda[-_].*)$", distribution.metadata["Name"]):
            for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}:
                if not (site_packages / top).exists():
                    (site_packages / top).symlink_to(Path(str(distribution.locate_file(top))))


@pytest.mark.parametrize("suffix", [".whl", ".tar.gz"])
def test_a_distribution_runs_the_demo_in_an_empty_environment(
    distributions: Path, suffix: str, tmp_path: Path
) -> None:
    """The environment has only PyTorch, whose build depends on the machine; pip installs the declared dependencies."""
    (distribution,) = distributions.glob(f"*{suffix}")
    venv.create(tmp_path / "venv", with_pip=True, symlinks=True)
    bin_dir = tmp_path / "venv" / "bin"
    site_packages = tmp_path / "venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    lend_torch(site_packages)
    run(bin_dir / "python", "-m", "pip", "install", "--quiet", distribution, cwd=tmp_path)
    run(bin_dir / "python", "-m", "pip", "check", cwd=tmp_path)
    run(bin_dir / "python", "-c", LOOK_AROUND, cwd=tmp_path)
    if sys.platform == "linux" and platform.machine() == "x86_64" and shutil.which("g++"):
        assert list((site_packages / "sam2_ros" / "engine" / "kernels").glob("_cpu_kernels*.so"))
    share = tmp_path / "venv" / "share" / "sam2_ros"
    assert (share / "LICENSE").read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")
    run(bin_dir / "sam2-ros", "demo", "--direct", "--out", tmp_path / "demo", cwd=tmp_path)
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text("utf-8"))
    assert summary["frames_processed"] == 150
    assert (tmp_path / "demo" / "overlay.mp4").stat().st_size > 100_000


def test_a_source_distribution_has_all_that_git_has_but_tests_and_pages(distributions: Path) -> None:
    (distribution,) = distributions.glob("*.tar.gz")
    with tarfile.open(distribution) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("sam2_ros", "sam2_ros_msgs", "config", "launch", "resource", "models")
    wanted = {
        path.relative_to(ROOT).as_posix()
        for name in folders
        for path in (ROOT / name).rglob("*")
        if path.is_file()
    }
    made = re.compile(r"\.(pyc|so|pt)$|__pycache__|egg-info")
    wanted = {name for name in wanted if not made.search(name)}
    assert wanted - packed == set()
    assert {"LICENSE", "README.md", "package.xml", "setup.py", "setup.cfg", "pyproject.toml"} <= packed
    assert not [
        name
        for name in packed
        if made.search(name.replace("sam2_ros.egg-info", "")) or name.startswith("test/")
    ]


@pytest.fixture(scope="module")
def workspace(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the clone in ws/src/sam2_ros."""
    need_colcon()
    ws = tmp_path_factory.mktemp("workspace")
    (ws / "src").mkdir()
    shutil.copytree(source, ws / "src" / "sam2_ros")
    return ws


def check_install_space(ws: Path, source_or_install: Path) -> None:
    """Starts the program from lib/ in the sourced workspace, as `ros2 run` does."""

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


def test_a_workspace_with_the_messages_in_a_tree_of_their_own_needs_no_base_paths(tmp_path: Path) -> None:
    """As docs/how-to/release.md splits them."""
    need_colcon()
    messages = split_messages(tmp_path / "clone")
    (tmp_path / "ws" / "src").mkdir(parents=True)
    run("git", "clone", "--quiet", tmp_path / "clone", tmp_path / "ws" / "src" / "sam2_ros", cwd=tmp_path)
    shutil.copytree(messages, tmp_path / "ws" / "src" / "sam2_ros_msgs")
    assert packages_found(tmp_path / "ws") == {"sam2_ros", "sam2_ros_msgs"}
    colcon_build(tmp_path / "ws", base_paths=("src",))
    check_install_space(tmp_path / "ws", tmp_path / "ws" / "install" / "sam2_ros")
    where = "import sam2_ros_msgs.msg as m; m.TrackedObjectArray(); print(m.__file__)"
    printed = run("bash", "-c", f"source install/setup.bash && python -c '{where}'", cwd=tmp_path / "ws")
    assert Path(printed.strip()).is_relative_to(tmp_path / "ws" / "install" / "sam2_ros_msgs")
    licence = tmp_path / "ws" / "install" / "sam2_ros_msgs" / "share" / "sam2_ros_msgs" / "LICENSE"
    assert licence.read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")
