"""Ends the process in time, whatever a model is at: what waits for a thread inside one may wait for ever.

Knows clocks and exit statuses; nothing of ROS, and not why the node ends.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn

END_WITHIN_S = 3.5  # of a signal; launch sends the next one after 5 s


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
