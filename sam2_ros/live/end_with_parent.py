# SPDX-License-Identifier: Apache-2.0
"""Runs a command that ends when its parent process does: `python end_with_parent.py PARENT_PID COMMAND...`.

Does not know what the command is. Runs on its own, without this package, so that it costs a few milliseconds. Linux
only: its kernel sends the signal, so that nothing the parent does or suffers can keep it from being sent.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>; kept by exec


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    # SIGTERM, which ends a process at any moment of its start as well, and a ROS node in order later.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # it died before it could be watched
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error}")


if __name__ == "__main__":
    main()
