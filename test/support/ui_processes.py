# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros ui` as a process, for the tests of its page and its command.

Knows nothing of what they do with it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ui_servers import HttpAndSocket

TOKEN = "a-token-for-the-tests"
QUICK = ("--image-size", "128", "--device", "cpu")


@contextmanager
def started(*arguments: object, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the line that it prints. The model sees 128 pixels unless an option says otherwise."""
    inherited = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    given = [*map(str, arguments)]
    process = subprocess.Popen(
        [sys.executable, "-m", "sam2_ros.cli", "ui", *given, *(() if "--image-size" in given else QUICK)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, "OMP_NUM_THREADS": "1", **environment},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, line.strip()
    finally:
        process.kill()
        process.communicate()


def server_of(line: str) -> HttpAndSocket:
    """The server at the address that it printed."""
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/#token=[\w-]+(&source=\d+)?", line)
    assert found, line
    return HttpAndSocket(int(found[1]))
