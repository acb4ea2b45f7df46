# SPDX-License-Identifier: Apache-2.0
"""The error for a missing ROS package names it and the command that installs it."""

import pytest

from sam2_ros.errors import UserError
from sam2_ros.node.packages import require


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    with pytest.raises(UserError, match=r"use_3d needs .* apt install ros-jazzy-no-such-package, ") as raised:
        require("no_such_package", "no_such_package", "use_3d")
    assert raised.value.status == 1
    monkeypatch.delenv("ROS_DISTRO")
    with pytest.raises(UserError, match="ros-<distro>-no-such-package"):
        require("no_such_package.msg", "no_such_package", "use_3d")


def test_an_installed_package_is_imported():
    assert require("json.decoder", "json", "this test").JSONDecoder
