# SPDX-License-Identifier: Apache-2.0
"""Builds a copy of this clone in a colcon workspace, without the Python and ROS paths of the caller.

Knows nothing of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEFT_BEHIND = shutil.ignore_patterns(
    ".*", "build", "install", "log", "out", "dist", "__pycache__", "*.egg-info", "*.pt"
)


def run(*command: object, cwd: Path, **variables: str) -> str:
    """Standard output of a command that must succeed. It runs without the Python and ROS paths of the caller."""
    keep = {
        k: v
        for k, v in os.environ.items()
        if k not in {"PYTHONPATH", "AMENT_PREFIX_PATH", "COLCON_PREFIX_PATH"}
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{keep['PATH']}"
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**keep, "PATH": path, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_of_clone(folder: Path) -> Path:
    """A copy of the clone as folder/sam2_ros, so that building writes nothing into the clone."""
    return Path(shutil.copytree(ROOT, folder / "sam2_ros", ignore=LEFT_BEHIND))


def need_colcon() -> None:
    """Skips the test if this interpreter has no colcon or no ROS beside it."""
    if shutil.which("colcon", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("needs colcon beside this interpreter: make env")
    pytest.importorskip("rclpy", reason="needs rosidl and ament: make env, or a sourced ROS 2")


def colcon_build(
    ws: Path, *options: str, base_paths: tuple[str, ...] = ("src", "src/sam2_ros/sam2_ros_msgs")
) -> None:
    """Builds all packages below the base paths into ws/install."""
    prefix = os.environ.get("AMENT_PREFIX_PATH") or sys.prefix
    colcon = Path(sys.executable).parent / "colcon"
    command = [colcon, "build", "--base-paths", *base_paths, *options]
    run(*command, cwd=ws, AMENT_PREFIX_PATH=prefix, CMAKE_PREFIX_PATH=prefix)


def packages_found(folder: Path) -> set[str]:
    """Names of the packages that colcon finds without options below a folder that is not a package."""
    colcon = Path(sys.executable).parent / "colcon"
    command = [colcon, "--log-base", os.devnull, "list", "--names-only", "--base-paths", folder]
    return set(run(*command, cwd=folder.parent).split())


def split_messages(clone: Path) -> Path:
    """Clones this repository, splits the messages off to the branch `messages`, and returns a clone of that branch."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs git, and a clone")
    run("git", "clone", "--quiet", ROOT, clone, cwd=clone.parent)
    if subprocess.run(["git", "subtree"], cwd=clone, capture_output=True, text=True).returncode == 1:
        pytest.skip("needs git subtree")
    run("git", "subtree", "split", "-q", "--prefix", "sam2_ros_msgs", "--branch", "messages", cwd=clone)
    messages = clone.parent / "messages"
    run("git", "clone", "--quiet", "--branch", "messages", clone, messages, cwd=clone.parent)
    return messages
