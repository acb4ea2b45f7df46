# SPDX-License-Identifier: Apache-2.0
"""Finds the files that come with sam2_ros: in a clone, or in `share/` of a wheel or of a colcon install space.

Does not know what is in them.
"""

from __future__ import annotations

from pathlib import Path

from .errors import UserError


def shared_folder(name: str, holding: str, in_clone: str = "") -> Path:
    """The folder ``share/sam2_ros/<name>`` of this installation, or the one that it is made of in a clone.

    Args:
        name: of the folder in ``share/sam2_ros``, such as ``models``.
        holding: a file in it, or a pattern of files, by which it is known.
        in_clone: what the folder is called there, where it is called otherwise.

    Raises:
        UserError: there is none; its status is 1.
    """
    here = Path(__file__).resolve()  # resolved: `colcon build --symlink-install` leads back to the clone
    for parent in here.parents:
        for folder in (parent / (in_clone or name), parent / "share" / "sam2_ros" / name):
            if any(folder.glob(holding)):
                return folder
    raise UserError(
        f"{in_clone or name}/{holding} is in no folder above {here.parent}, nor in share/sam2_ros/{name}/ of one: "
        "reinstall sam2_ros, or clone it whole",
        status=1,
    )
