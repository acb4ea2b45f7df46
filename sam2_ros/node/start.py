# SPDX-License-Identifier: Apache-2.0
"""The program sam2_node: answers Ctrl-C from its first moment, imports the node and runs it.

Knows nothing of ROS or of models before they are imported, which takes seconds.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> NoReturn:
    """Run the node until it is interrupted, and end the process with its exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_at_once)
    from . import node

    status = node.main()
    # The node has left the graph in order. Python's own end would take seconds on a busy machine, to take apart what
    # ends with the process anyway, and launch waits for five in all.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """There is nothing to tidy up yet. An exception would come up inside whatever is being imported, as a traceback."""
    os._exit(0)


if __name__ == "__main__":
    main()
