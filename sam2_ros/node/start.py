"""The program sam2_node: answers Ctrl-C from its first moment, imports the node, and runs it.

Knows nothing of ROS or of models before they are imported, which takes seconds.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> int:
    """Run the node until it is interrupted; returns the exit status."""
    signal.signal(signal.SIGINT, _end_at_once)
    from sam2_ros.node import node

    return node.main()


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """There is nothing to tidy up yet. An exception would come up inside whatever is being imported, as a traceback."""
    os._exit(0)
