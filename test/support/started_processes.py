# SPDX-License-Identifier: Apache-2.0
"""Commands that run beside a test: waiting for what they do, and finding one below them to kill.

Knows nothing of what they run.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import psutil

WAIT_S = 90


def wait_for(what: Callable[[], object], process: subprocess.Popen) -> None:
    """Until it is so, while the process runs."""
    until = time.monotonic() + WAIT_S
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)


def child_named(pid: int, name: str) -> int:
    """The first descendant of a process whose command line has these words."""
    for process in psutil.Process(pid).children(recursive=True):
        if name in " ".join(process.cmdline()):
            return process.pid
    raise AssertionError(f"no process {name} below {pid}")
