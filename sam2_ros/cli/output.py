"""What the command line shows: progress on standard error, tables and JSON on standard output.

Does not know what the numbers mean; it lays them out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
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

from sam2_ros.engine.text import readable

# A file or a pipe has no width: tables are not cut there.
# No `:cat:` becomes a picture of one: names are shown as they are.
out = Console(width=None if sys.stdout.isatty() else 160, emoji=False)
err = Console(stderr=True, emoji=False)


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
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # Without a terminal there is nobody to watch, and an error must stay the only line.
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield Bar(progress, first)


def note(line: str) -> None:
    """A line for people on standard error, above a progress bar that runs."""
    err.print(readable(line), highlight=False, markup=False, soft_wrap=True)


def path(place: object) -> None:
    """Where a result lies, on a line of its own."""
    out.print(f"  {readable(str(place))}", highlight=False, markup=False, soft_wrap=True)


def print_table(title: str, values: Mapping[str, Any]) -> None:
    """Names and values, one per line."""
    table = Table(title=title, show_header=False, box=None, title_justify="left", title_style="bold")
    for key, value in values.items():
        table.add_row(escape(readable(key)), escape(readable(_plain(value))))
    out.print(table)


def seen(counts: Mapping[str, Any]) -> str:
    """One object of a `track` summary in words."""
    return f"visible in {counts['frames_visible']} of {counts['frames']} frames, last {counts['last_state']}"


def print_bench(report: Mapping[str, Any]) -> None:
    """The report of `run_bench`: object counts side by side, one table for each bank."""
    out.print(
        f"{escape(report['model'])} on {report['device']}, {report['precision']}, input {report['image_size']}, "
        f"camera {report['camera']}, {report['frames']} frames, {report['threads']} threads, "
        f"matrix product peak {report['peak_gflops']:,.0f} GFLOP/s",
        highlight=False,
    )
    if report["weights"] == "random":
        out.print("The weights are not on this machine: timed with seeded random ones.")
    if "compile_s" in report:
        out.print(
            f"compile {report['compile']}: {report['compile_s']} s before the first frame.", highlight=False
        )
    memory = report["memory"]
    if memory["memory_pooling"] > 1 or memory["memory_every"] > 1:
        pooled, every = memory["memory_pooling"], memory["memory_every"]
        out.print(f"Not exact: memory pooling {pooled}, memory every {every}.", highlight=False)
    banks = {memory["conditioning"]: report["objects"], **report.get("objects_by_conditioning", {})}
    for conditioning, runs in banks.items():
        out.print(
            f"Memory of {conditioning} prompted and {memory['memory_frames'] - 1} recent frames:",
            highlight=False,
        )
        out.print(_bench_table(runs, report if runs is report["objects"] else {}))
    out.print(
        "Stages: medians in ms. The share of the peak is that of the official arithmetic, the least time that of the "
        f"exact rewrites. {report['memory_bytes'] / 1e6:.0f} MB in use, which grew by "
        f"{report['memory_growth_bytes_per_frame']} bytes per frame.",
        highlight=False,
        soft_wrap=True,
    )


def _bench_table(runs: Mapping[str, Any], compared: Mapping[str, Any]) -> Table:
    """`compared`: the report, where a reference was timed beside these runs."""
    table = Table("objects", *runs, box=None, header_style="bold")

    def row(name: str, cell: Callable[[Any], str]) -> None:
        table.add_row(name, *(cell(timed) for timed in runs.values()))

    row("frames per second", lambda timed: f"{timed['fps']:.1f}")
    for key in ("p50", "p95", "p99"):
        row(f"frame {key} ms", lambda timed, key=key: f"{timed['frame_ms'][key]:.1f}")  # type: ignore[misc]
    for stage in next(iter(runs.values()))["stages_ms"]:
        row(f"{stage} ms", lambda timed, stage=stage: f"{timed['stages_ms'].get(stage, 0.0):.1f}")  # type: ignore[misc]
    row("GFLOP", lambda timed: f"{timed['gflop']['official']:.1f}")
    row("share of the peak", lambda timed: f"{100 * timed['peak_share']:.1f} %")
    row("least time at the peak ms", lambda timed: f"{timed['floor_ms']:.1f}")
    for counted in next(iter(runs.values())).get("launches", {}):
        row(f"{counted} a frame", lambda timed, counted=counted: str(timed["launches"][counted]))  # type: ignore[misc]
    row("memory bank MB per object", lambda timed: f"{timed['bank_bytes_per_object'] / 1e6:.2f}")
    if against := compared.get("against"):
        row(f"{against} p50 ms, in turns", lambda timed: f"{timed[against]['frame_ms']['p50']:.1f}")
        row("ours p50 ms, in turns", lambda timed: f"{timed[against]['own_frame_ms']['p50']:.1f}")
        table.add_row(f"{against} / ours", *(f"{ratio:.2f}" for ratio in compared["ratio"].values()))
        table.add_row("masks agree, IoU", *(f"{iou:.4f}" for iou in compared["agreement"].values()))
        row("logits differ by", lambda timed: f"{timed[against]['logit_error']:.1e} of rms")
    return table


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
