"""What the command line shows: progress on standard error, tables and JSON on standard output.

Does not know what the numbers mean; it lays them out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

# A file or a pipe has no width: tables are not cut there.
out = Console(width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True)


class Bar:
    """One running step with its count."""

    def __init__(self, progress: Progress, first: str) -> None:
        self._progress = progress
        self._task = progress.add_task(first, total=None)

    def show(self, step: str, done: int, total: int | None) -> None:
        self._progress.update(self._task, description=step, completed=done, total=total)


@contextmanager
def progress_bar(first: str) -> Iterator[Bar]:
    """A progress bar on standard error, so that standard output stays for results."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # Without a terminal there is nobody to watch, and an error must stay the only line.
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield Bar(progress, first)


def print_table(title: str, values: Mapping[str, Any]) -> None:
    """Names and values, one per line."""
    table = Table(title=title, show_header=False, box=None, title_justify="left", title_style="bold")
    for key, value in values.items():
        table.add_row(key, escape(_plain(value)))
    out.print(table)


def seen(counts: Mapping[str, Any]) -> str:
    """One object of a `track` summary in words."""
    return f"visible in {counts['frames_visible']} of {counts['frames']} frames, last {counts['last_state']}"


def print_bench(report: Mapping[str, Any]) -> None:
    """The report of `run_bench`: object counts side by side."""
    out.print(
        f"{report['model']} on {report['device']}, {report['precision']}, input {report['image_size']}, "
        f"camera {report['camera']}, {report['frames']} frames, {report['threads']} threads",
        highlight=False,
    )
    if report["weights"] == "random":
        out.print("The weights are not on this machine: timed with seeded random ones.")
    if "compile_s" in report:
        out.print(
            f"compile {report['compile']}: {report['compile_s']} s before the first frame.", highlight=False
        )
    runs = report["objects"]
    table = Table("objects", *runs, box=None, header_style="bold")
    table.add_row("frames per second", *(f"{timed['fps']:.1f}" for timed in runs.values()))
    for key in ("p50", "p95", "p99"):
        table.add_row(f"frame {key} ms", *(f"{timed['frame_ms'][key]:.1f}" for timed in runs.values()))
    for stage in next(iter(runs.values()))["stages_ms"]:
        table.add_row(
            f"{stage} ms", *(f"{timed['stages_ms'].get(stage, 0.0):.1f}" for timed in runs.values())
        )
    if against := report.get("against"):
        table.add_row(
            f"{against} p50 ms", *(f"{timed[against]['frame_ms']['p50']:.1f}" for timed in runs.values())
        )
        table.add_row(f"{against} / ours", *(f"{ratio:.2f}" for ratio in report["ratio"].values()))
        table.add_row("masks agree, IoU", *(f"{iou:.4f}" for iou in report["agreement"].values()))
        table.add_row(
            "logits differ by", *(f"{timed[against]['logit_error']:.1e} of rms" for timed in runs.values())
        )
    out.print(table)
    out.print(
        f"Stages: medians in ms. Memory grew {report['memory_growth_bytes_per_frame']} bytes per frame.",
        highlight=False,
    )


def print_json(wanted: bool, values: Mapping[str, Any]) -> None:
    """The last line of standard output, for programs."""
    if wanted:
        print(json.dumps(values), flush=True)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None else str(value)
