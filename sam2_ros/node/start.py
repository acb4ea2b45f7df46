# SPDX-License-Identifier: Apache-2.0
"""The program sam2_node: imports the node and runs it. Ctrl-C ends it without a traceback from the first moment.

Imports ROS and models only after the signal handlers are set, because these imports take seconds.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> NoReturn:
    """Run the node until it is interrupted; the process ends with its exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_at_once)
    from . import node

    status = node.main()
    # The node has shut down in order. Python's own shutdown takes seconds on a busy machine, and launch sends the next
    # signal after five seconds.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """There is nothing to clean up yet. An exception would show a traceback of whatever is being imported."""
    os._exit(0)


if __name__ == "__main__":
    main()
