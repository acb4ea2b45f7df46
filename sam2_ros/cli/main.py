# SPDX-License-Identifier: Apache-2.0
"""The `sam2-ros` command: joins its sub-commands, and turns errors into one line and an exit status.

Knows no sub-command's options. Status: 0 = done, 2 = wrong usage or unusable input, 1 = anything else.
"""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from sam2_ros.errors import UserError
from sam2_ros.host_memory import keep_freed_pages

from .bench import bench
from .compare import compare
from .demo import demo
from .enroll import enroll
from .eval import evaluate
from .export import export
from .failures import argument_problem, disk_full, escape_unencodable, fail, out_of_memory
from .models import models_app
from .replay import replay
from .segment import segment
from .soak import soak
from .track import track
from .train import train
from .ui import ui

# The base of BadParameter is click's usage error, whether typer bundles click or uses the installed one.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="sam2-ros",
    help="SAM 2 as a stream: track objects in videos and rosbags, in the browser too, segment images, run the demo, "
    "measure, train, export.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models_app, name="models", no_args_is_help=True)
for command in (soak, replay, train, evaluate, compare, export, demo, track, segment, enroll, ui, bench):
    app.command("eval" if command is evaluate else command.__name__)(command)


def main() -> None:
    """Entry point of the console script."""
    # SIGTERM becomes an exception, so that the demo stops its node and a run removes its temporary files. The same for
    # SIGHUP (the terminal was closed), unless nohup ignores it.
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _terminated)
    keep_freed_pages()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit status. Errors are one line on standard error."""
    command = typer.main.get_command(app)
    escape_unencodable()
    if problem := argument_problem(arguments):
        return fail(2, problem)
    try:
        status = command.main(
            args=list(arguments), prog_name="sam2-ros", standalone_mode=False, obj=tuple(arguments)
        )
    except _UsageError as error:
        return fail(2, _usage_text(error))
    except (KeyboardInterrupt, typer.Abort):
        return fail(130, "interrupted")
    except Exception as error:
        if reason := out_of_memory(error) or disk_full(error):
            return fail(1, reason)
        if isinstance(error, UserError):
            return fail(error.status, str(error))
        if isinstance(error, OSError):
            return fail(2 if error.errno in (errno.ENAMETOOLONG, errno.ELOOP) else 1, str(error))
        raise  # a defect: show its traceback
    if status == 130:  # some versions of typer return this for an interrupt
        return fail(130, "interrupted")
    return status if isinstance(status, int) else 0


def _usage_text(error: Exception) -> str:
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    return " ".join(text.split())


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
