"""The program sam2_node: answers Ctrl-C from its first moment, imports the node, runs it, and ends in time.

Knows nothing of ROS or of models before they are imported, which takes seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

END_WITHIN_S = 3.5  # of a signal, whatever a model is at; launch sends the next one after 5 s


def main() -> NoReturn:
    """Run the node until it is interrupted, and end the process with its exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_at_once)
    from sam2_ros.node import run

    status = run.main()
    # The node has left the graph in order. Python's own end would take seconds on a busy machine, to take apart what
    # ends with the process anyway, and launch waits for five in all.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """There is nothing to tidy up yet. An exception would come up inside whatever is being imported, as a traceback."""
    os._exit(0)


def end_in_time(running: Callable[[], bool]) -> None:
    """For a thread of its own: from when `running` ends, the process has END_WITHIN_S to end in order."""
    while running():
        time.sleep(0.1)
    time.sleep(END_WITHIN_S)
    end_now(f"what it was at did not end within {END_WITHIN_S:g} s")


def end_now(reason: str) -> NoReturn:
    """End the process as it is: a thread inside a model when Python is torn down would end it by a fault."""
    sys.stderr.write(f"[sam2]: ended at once, {reason}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
