"""The texts of sam2_ros_msgs' definitions, found from a clone, a wheel and a colcon install space.

Knows nothing of what a definition means: `message_types.py` parses them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from sam2_ros.errors import UserError

PACKAGE = "sam2_ros_msgs"


@lru_cache(maxsize=2)
def definitions(kind: Literal["msg", "srv"] = "msg") -> dict[str, str]:
    """Type name -> text, e.g. `sam2_ros_msgs/msg/Prompt` -> the content of Prompt.msg."""
    folder = definitions_dir() / kind
    return {
        f"{PACKAGE}/{kind}/{path.stem}": path.read_text("utf-8") for path in sorted(folder.glob(f"*.{kind}"))
    }


def definitions_dir() -> Path:
    """The folder with `msg/` and `srv/`, upward from this file; UserError without one."""
    here = Path(__file__).resolve()  # resolved: `colcon build --symlink-install` leads back to the clone
    for parent in here.parents:
        for folder in (parent / PACKAGE, parent / "share" / "sam2_ros" / "msgs"):
            # The generated Python package sam2_ros_msgs has a msg/ too, without definitions.
            if any(folder.glob("msg/*.msg")):
                return folder
    raise UserError(
        f"the definitions of {PACKAGE} are in no {PACKAGE}/ and no share/sam2_ros/msgs/ of a folder above "
        f"{here}: reinstall sam2_ros, or clone it whole",
        status=1,
    )
