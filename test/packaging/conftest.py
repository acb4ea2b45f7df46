# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of packaging."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix in which sam2_ros is found; further packages by `add_package`."""
    from launch_files import add_package

    paths = [str(tmp_path), os.environ.get("AMENT_PREFIX_PATH", "")]
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(filter(None, paths)))
    add_package(tmp_path, "sam2_ros", "sam2_node")
    return tmp_path
