# SPDX-License-Identifier: Apache-2.0
"""Finds the data files of sam2_ros: in a clone, or in `share/` of a wheel or of a colcon install space.

Does not know what the files contain.
"""

from __future__ import annotations

from pathlib import Path

from .errors import UserError


def shared_folder(name: str, holding: str, in_clone: str = "") -> Path:
    """Return the folder ``share/sam2_ros/<name>`` of this installation, or its source folder in a clone.

    Args:
        name: name of the folder in ``share/sam2_ros``, such as ``models``.
        holding: a file name or a glob pattern; only a folder with such a file counts.
        in_clone: name of the folder in a clone, if it is not `name`.

    Raises:
        UserError: no such folder; its status is 1.
    """
    here = Path(
        __file__
    ).resolve()  # resolved: the links of `colcon build --symlink-install` lead to the clone
    for parent in here.parents:
        for folder in (parent / (in_clone or name), parent / "share" / "sam2_ros" / name):
            if any(folder.glob(holding)):
                return folder
    raise UserError(
        f"{in_clone or name}/{holding} is in no folder above {here.parent}, nor in share/sam2_ros/{name}/ of one: "
        "reinstall sam2_ros, or clone it whole",
        status=1,
    )
