# SPDX-License-Identifier: Apache-2.0
"""Output of the command line: progress on standard error, tables and JSON on standard output.

Does not know what the numbers mean.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from sam2_ros.text import readable

# Files and pipes have no width: 160 columns keep tables whole there.
# emoji=False: `:cat:` in a name is not replaced by a symbol.
out = Console(width=None if sys.stdout.isatty() else 160, emoji=False)
err = Console(stderr=True, emoji=False)


class Bar:
    """A progress bar: the current step and its count."""

    def __init__(self, progress: Progress, first: str) -> None:
        self._progress = progress
        self._task = progress.add_task(first, total=None)

    def show(self, step: str, done: int, total: int | None) -> None:
        self._progress.update(self._task, description=step, completed=done, total=total)


@contextmanager
def progress_bar(first: str) -> Iterator[Bar]:
    """Shows a progress bar on standard error; standard output is for results only."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    progress = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    # Without a terminal an error must stay the only line on standard error: rich below 14.3 ends with an empty one.
    with progress if err.is_terminal else nullcontext():
        yield Bar(progress, first)


def line(text: str) -> None:
    """Prints one result line on standard output, never wrapped, with rich's markup."""
    out.print(text, highlight=False, soft_wrap=True)


def columns(*names: str) -> Table:
    """An empty table with a heading for each column."""
    return Table(*names, box=None, header_style="bold")


def note(line: str) -> None:
    """Prints one line on standard error, above a running progress bar."""
    err.print(readable(line), highlight=False, markup=False, soft_wrap=True)


def path(place: object) -> None:
    """Prints the path of a result on its own line."""
    out.print(f"  {readable(str(place))}", highlight=False, markup=False, soft_wrap=True)


def print_table(title: str, values: Mapping[str, Any]) -> None:
    """Prints names and values, one per line."""
    table = Table(title=title, show_header=False, box=None, title_justify="left", title_style="bold")
    for key, value in values.items():
        table.add_row(escape(readable(key)), escape(readable(_plain(value))))
    out.print(table)


def print_json(wanted: bool, values: Mapping[str, Any]) -> None:
    """Prints `values` as one JSON line if `wanted`: the last line of standard output."""
    if wanted:
        print(json.dumps(values), flush=True)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None else str(value)
