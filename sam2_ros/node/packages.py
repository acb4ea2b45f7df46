# SPDX-License-Identifier: Apache-2.0
"""Imports optional ROS packages when they are needed, and explains how to install one that is missing.

Does not know what they are used for.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from sam2_ros.errors import UserError


def require(module: str, package: str, wanted_by: str) -> Any:
    """Import `module` of the ROS package `package`. `wanted_by` names the feature that needs it. Raises UserError."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        distro = os.environ.get("ROS_DISTRO") or "<distro>"
        raise UserError(
            f"{wanted_by} needs the ROS package {package}, which this Python cannot import: "
            f"sudo apt install ros-{distro}-{package.replace('_', '-')}, and source "
            f"/opt/ros/{distro}/setup.bash in this shell. Python error: {error}",
            status=1,
        ) from error
