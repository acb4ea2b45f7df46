# SPDX-License-Identifier: Apache-2.0
"""Reports a command that failed: one line on standard error, whatever is in it.

Does not know the errors of the commands.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence

from sam2_ros.text import readable, text_problem

_LONGEST = 4000
_LOG_LINE = "\n  | "  # of a node that died, whose last lines are shown below the error


def fail(status: int, message: str) -> int:
    """Say it, and return the exit status."""
    first, *log = message.split(_LOG_LINE)
    if len(first) > _LONGEST:  # a name of a megabyte is no name
        first = f"{first[: _LONGEST // 2]} ... {first[-_LONGEST // 2 :]}"
    print(_LOG_LINE.join([f"sam2-ros: {readable(first)}", *map(readable, log)]), file=sys.stderr)
    return status


def argument_problem(arguments: Sequence[str]) -> str:
    """What no library would survive: an argument that is not UTF-8, or has a NUL; "" when all are text."""
    for argument in arguments:
        if problem := text_problem(argument):
            return (
                f"argument '{readable(argument)}' {problem}: expected text in UTF-8; rename the file, or choose "
                "another name"
            )
    return ""


def tolerate_any_name() -> None:
    """A character that the terminal's encoding lacks is printed as an escape, rather than end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def disk_full(error: Exception) -> str:
    """One line for an exception that says that there is no space left for a file; "" for any other."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    where = f"'{error.filename}': " if error.filename else ""
    return (
        f"{where}{os.strerror(error.errno)}; free some space and give the same command again, or name an --out on "
        "another disk"
    )


def out_of_memory(error: Exception) -> str:
    """One line for an exception that says that there is no memory left; "" for any other."""
    names = [kind.__name__ for kind in type(error).__mro__]  # without importing torch for a wrong option
    if "MemoryError" in names or "OutOfMemoryError" in names or "can't allocate memory" in str(error):
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "MemoryError"
        return f"out of memory ({reason}): use a smaller --image-size, a smaller model or fewer objects"
    return ""
