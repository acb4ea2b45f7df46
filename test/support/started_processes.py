# SPDX-License-Identifier: Apache-2.0
"""For commands that run beside a test: waits for a condition, and finds a child process to kill.

Knows nothing of what they run.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import psutil

WAIT_S = 90


def wait_for(what: Callable[[], object], process: subprocess.Popen) -> None:
    """Waits until the condition holds; fails if the process ends, or after WAIT_S seconds."""
    until = time.monotonic() + WAIT_S
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)


def child_named(pid: int, name: str) -> int:
    """Process id of the first descendant whose command line contains `name`."""
    for process in psutil.Process(pid).children(recursive=True):
        if name in " ".join(process.cmdline()):
            return process.pid
    raise AssertionError(f"no process {name} below {pid}")
