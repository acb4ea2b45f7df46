# SPDX-License-Identifier: Apache-2.0
"""Runs a command that ends when its parent process does: `python end_with_parent.py PARENT_PID COMMAND...`.

Does not know what the command is. A stand-alone script, without imports of this package, so that it starts in a few
milliseconds. Linux only: the kernel sends the signal, however the parent ends.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>; kept by exec


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    # SIGTERM ends a process at any moment of its start, and later lets a ROS node shut down in order.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # the parent ended before the signal was set
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error}")


if __name__ == "__main__":
    main()
