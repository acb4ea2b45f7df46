# SPDX-License-Identifier: Apache-2.0
"""After the messages are split into a branch, catkin_pkg (used by bloom) and colcon find both packages.

Builds nothing: test_install_spaces.py does. Uses committed files only.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from colcon_workspace import need_colcon, packages_found, run, split_messages


def named(folder: Path) -> dict[str, str]:
    """Path > name of the packages that catkin_pkg finds below a folder; a warning is an error."""
    from catkin_pkg.packages import find_packages

    warnings: list[str] = []
    found = {path: package.name for path, package in find_packages(str(folder), warnings=warnings).items()}
    assert not warnings
    return found


@pytest.mark.long
def test_the_split_messages_are_found_beside_the_package_that_hides_them(tmp_path: Path) -> None:
    need_colcon()
    pytest.importorskip("catkin_pkg", reason="needs catkin_pkg: make env")
    clone = tmp_path / "clone"
    messages = split_messages(clone)
    tree = run("git", "rev-parse", "messages^{tree}", "HEAD:sam2_ros_msgs", cwd=clone).split()
    assert tree[0] == tree[1]
    # The search stops at the first package.xml, also in bloom.
    assert named(clone) == {".": "sam2_ros"}
    assert named(messages) == {".": "sam2_ros_msgs"}
    src = tmp_path / "ws" / "src"
    src.mkdir(parents=True)
    shutil.move(str(clone), src / "sam2_ros")
    shutil.move(str(messages), src / "sam2_ros_msgs")
    assert named(src) == {"sam2_ros": "sam2_ros", "sam2_ros_msgs": "sam2_ros_msgs"}
    assert packages_found(tmp_path / "ws") == {"sam2_ros", "sam2_ros_msgs"}
