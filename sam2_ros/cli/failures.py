# SPDX-License-Identifier: Apache-2.0
"""Reports a failed command in one line on standard error, whatever characters the message has.

Does not know which errors the commands raise.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence

from sam2_ros.text import readable, text_problem

_LONGEST = 4000
_LOG_LINE = "\n  | "  # starts a log line of a node that died: the last ones are shown below the error


def fail(status: int, message: str) -> int:
    """Prints the message and returns the exit status."""
    first, *log = message.split(_LOG_LINE)
    if len(first) > _LONGEST:  # such as a name of a megabyte
        first = f"{first[: _LONGEST // 2]} ... {first[-_LONGEST // 2 :]}"
    print(_LOG_LINE.join([f"sam2-ros: {readable(first)}", *map(readable, log)]), file=sys.stderr)
    return status


def argument_problem(arguments: Sequence[str]) -> str:
    """One line for the first argument that is not UTF-8 or has a NUL, which libraries fail on; "" if there is none."""
    for argument in arguments:
        if problem := text_problem(argument):
            return (
                f"argument '{readable(argument)}' {problem}: expected text in UTF-8; rename the file, or choose "
                "another name"
            )
    return ""


def escape_unencodable() -> None:
    """Makes standard output and error print characters that their encoding lacks as escapes, not raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def disk_full(error: Exception) -> str:
    """One line for an exception caused by a full disk or quota; "" for any other."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    where = f"'{error.filename}': " if error.filename else ""
    return (
        f"{where}{os.strerror(error.errno)}; free some space and give the same command again, or name an --out on "
        "another disk"
    )


def out_of_memory(error: Exception) -> str:
    """One line for an exception caused by a lack of memory; "" for any other."""
    names = [kind.__name__ for kind in type(error).__mro__]  # names, so that torch need not be imported
    if "MemoryError" in names or "OutOfMemoryError" in names or "can't allocate memory" in str(error):
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "MemoryError"
        return f"out of memory ({reason}): use a smaller --image-size, a smaller model or fewer objects"
    return ""
