# SPDX-License-Identifier: Apache-2.0
"""Runs a ROS 2 node in its own process, and ends it when its owner ends.

Does not know what the node does; only how it is started, logged to a file and stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from sam2_ros.errors import UserError

from . import end_with_parent

STOP_SIGNALS = ((signal.SIGINT, 30.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""(signal, seconds to wait for the end) in this order. SIGINT lets rclpy shut down in order."""
LAST_LINES = 15  # of the log, in an error message


class NodeProcess:
    """A node process as a context manager: started on entry, ended on exit."""

    def __init__(self, command: Sequence[str], log_path: Path, environment: Mapping[str, str]) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.log_path = log_path

    def __enter__(self) -> NodeProcess:
        self._log = self.log_path.open("wb")
        # In its own session: Ctrl-C in the terminal reaches the node once, through stop(), and stop() also reaches the
        # processes that the node started.
        self._process = subprocess.Popen(
            _ending_with_this_process(self._command),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self._environment},
            start_new_session=True,
        )
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Id of the started process; RuntimeError before the start."""
        if self._process is None:
            raise RuntimeError("the node was not started yet: enter the context first")
        return self._process.pid

    @property
    def running(self) -> bool:
        """True between the start of the process and its end."""
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """Raise UserError if the node is no longer running."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise UserError(f"the node ended with exit status {status}; {self.last_words()}", status=1)

    def last_words(self) -> str:
        """The end of the node's log, for error messages."""
        if self._log is not None and not self._log.closed:
            self._log.flush()
        text = self.log_path.read_text(errors="replace").rstrip() if self.log_path.exists() else ""
        if not text:
            return f"it logged nothing ({self.log_path})"
        tail = "\n".join(f"  | {line}" for line in text.splitlines()[-LAST_LINES:])
        return f"the end of its log ({self.log_path}):\n{tail}"

    def stop(self) -> int | None:
        """End the node: SIGINT, then SIGTERM, then SIGKILL. Returns its exit status; may be called again."""
        process = self._process
        if process is None:
            return None
        for number, patience_s in STOP_SIGNALS:
            if process.poll() is not None:
                break
            _signal_group(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)
        # Children that outlived the node would keep its log file and its DDS participant.
        _signal_group(process.pid, signal.SIGKILL)
        if self._log is not None:
            self._log.close()
        return process.poll()


def _ending_with_this_process(command: list[str]) -> list[str]:
    """The command, wrapped so that the kernel ends it with this process, even if stop() never runs."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-IS", str(Path(end_with_parent.__file__)), str(os.getpid()), *command]


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
