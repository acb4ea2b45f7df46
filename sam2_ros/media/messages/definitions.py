"""The definition texts of the sam2_ros_msgs messages.

Knows nothing of what a definition means: `message_types.py` parses them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from sam2_ros.share_folder import shared_folder

PACKAGE = "sam2_ros_msgs"


@lru_cache(maxsize=2)
def definitions(kind: Literal["msg", "srv"] = "msg") -> dict[str, str]:
    """Type name -> text, e.g. `sam2_ros_msgs/msg/Prompt` -> the content of Prompt.msg. Raises UserError."""
    # The generated Python package sam2_ros_msgs has a msg/ too, without definitions.
    folder = shared_folder("msgs", "msg/*.msg", in_clone=PACKAGE) / kind
    return {
        f"{PACKAGE}/{kind}/{path.stem}": path.read_text("utf-8") for path in sorted(folder.glob(f"*.{kind}"))
    }
