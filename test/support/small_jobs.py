# SPDX-License-Identifier: Apache-2.0
"""Jobs for tests of the job runners: they square a number, wait, fail, or kill the process they run in.

A module of its own, so that other processes can import it. Knows nothing of sequences.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sam2_ros.eval.jobs.job import Job, JobError
from sam2_ros.eval.jobs.process_pool import ProcessPool


@dataclass(frozen=True)
class Squares:
    """Works on payloads `(kind, value)`; writes a line `pid kind value` into a file for each job that it starts."""

    log: Path
    broken: bool = False

    def __call__(self) -> Callable:
        if self.broken:
            raise ValueError("no model here")
        return self._work

    def _work(self, payload: tuple[str, int], on_progress: Callable[[int], None]) -> int:
        kind, value = payload
        earlier = self.log.read_text() if self.log.exists() else ""
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {kind} {value}\n")
        on_progress(1)
        if kind == "wait":
            time.sleep(0.5)
        elif kind == "steps":
            for step in range(1000):
                time.sleep(0.02)
                on_progress(step)
        elif kind == "die" or (kind == "die once" and f" die once {value}\n" not in earlier):
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "error":
            raise JobError(f"{value} is not for this")
        elif kind == "defect":
            return 1 // (value - value)
        elif kind == "full":
            raise JobError(os.strerror(errno.ENOSPC), ends_all=True)
        return value**2


if __name__ == "__main__":  # a run of two long jobs, for tests that kill it
    ProcessPool(2).run(
        Squares(Path(sys.argv[1])), [Job(str(n), ("steps", n)) for n in range(2)], lambda event: None
    )
