# SPDX-License-Identifier: Apache-2.0
"""Which node is shown, and how much of its camera.

Plain values. Imports no ROS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sam2_ros.errors import UserError
from sam2_ros.text import readable

_NAME = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+", re.ASCII)


@dataclass(frozen=True)
class LiveConfig:
    """A live view.

    Attributes:
        node: fully qualified name, such as "/sam2" or "/robot1/sam2".
        most_hz: pictures sent to the page per second, at most; the node may be faster.
        longest_side_px: larger images are reduced to it for the page; prompts are sent in pixels of the image.
        jpeg_quality: of the pictures, 1..100.

    Raises:
        UserError: not the name of a node.
    """

    node: str = "/sam2"
    most_hz: float = 15.0
    longest_side_px: int = 1280
    jpeg_quality: int = 80

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.node) is None:
            raise UserError(
                f"--node {readable(self.node[:80])!r} given, a fully qualified name such as /sam2 or /robot1/sam2 "
                "expected: `ros2 node list` shows those that run"
            )

    @property
    def namespace(self) -> str:
        """Of the node: "/" or such as "/robot1"."""
        return self.node.rpartition("/")[0] or "/"

    @property
    def name(self) -> str:
        """Of the node, without its namespace."""
        return self.node.rpartition("/")[2]
