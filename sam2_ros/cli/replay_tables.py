# SPDX-License-Identifier: Apache-2.0
"""Prints the results of `sam2-ros replay`: the runs of one bag side by side, or several bags one below the other.

Does not know how they were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.markup import escape

from . import output as show


def print_runs(summary: Mapping[str, Any]) -> None:
    """Prints the runs of one bag side by side: node minus direct is the cost of real time."""
    runs = summary["runs"]
    opened = [str(summary[key]) for key in ("model", "device", "precision")]
    # A recording without diagnostics has no record of the node's model.
    told = "; " + escape(", ".join(opened)) if summary["model"] is not None else ""
    show.line(
        f"{escape(summary['bag'])}, {escape(summary['topic'])} ({summary['transport']}): {summary['images']} images in "
        f"{summary['duration_s']:g} s{told}"
    )
    for note in summary["notes"]:
        show.line(f"Note: {escape(note)}.")
    table = show.columns("", *runs)

    def row(name: str, cell: Callable[[Mapping[str, Any]], Any]) -> None:
        cells = [_cell(cell(one)) for one in runs.values()]
        if any(cells):  # empty if no object was hidden, or without ground truth
            table.add_row(name, *cells)

    for key in ("images_in", "processed", "skipped", "dropped"):
        row(key.replace("_", " "), lambda one, key=key: one[key])  # type: ignore[misc]
    row("longest gap, s", lambda one: one["longest_gap_s"])
    row("images a second", lambda one: one["fps"])
    for share in ("p50", "p95", "p99"):
        row(f"latency {share}, ms", lambda one, share=share: one["latency_ms"].get(share))  # type: ignore[misc]
    row("first mask after, s (mean)", lambda one: one["time_to_first_mask_s"]["mean"])
    if summary["truth"] is not None:
        for label, read in _ROWS.items():
            row(f"{label}, as a robot sees it", read)
            row("  processed images only", lambda one, read=read: read(one["processed_only"]))  # type: ignore[misc]
        if len(summary["prompts"]["objects"]) > 1:
            for object_id in summary["prompts"]["objects"]:
                row(f"J&F of {escape(object_id)}", lambda one, key=object_id: one["objects"][key]["JF"])  # type: ignore[misc]
    show.out.print(table)


_ROWS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "J&F": lambda one: one["JF"],
    "J": lambda one: one["J"],
    "F": lambda one: one["F"],
    "missed (share of visible)": lambda one: one["missed"],
    "false presence (share of hidden)": lambda one: one["false_presence"],
    "time to lost, s": lambda one: _times(one["time_to_lost_s"]),
    "time to recover, s": lambda one: _times(one["time_to_recover_s"]),
    "identity switches": lambda one: one["identity_switches"],
    "outline: answers - truth": lambda one: one["stability"]["difference"],
    "calibration error": lambda one: one["calibration"]["ece"],
}


def _times(spread: Mapping[str, Any]) -> str:
    """Mean time over the intervals of all objects, and in how many of them the event never came."""
    if not spread["count"]:
        return ""
    mean = "never" if spread["mean"] is None else f"{spread['mean']:.2f}"
    return mean + (f" ({spread['never']} of {spread['count']} never)" if spread["never"] else "")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_bags(summary: Mapping[str, Any]) -> None:
    """Prints every bag and run of a list, the failed bags, and the means."""
    columns = ("bag", "run", "images", "dropped", "J", "F", "J&F", "missed", "false", "p50 ms", "p95 ms")
    table = show.columns(*columns)

    def row(name: str, run: str, one: Mapping[str, Any]) -> None:
        latency = one.get("latency_ms", {})
        cells = [one[key] for key in ("images_in", "dropped", "J", "F", "JF", "missed", "false_presence")]
        table.add_row(name, run, *map(_cell, [*cells, latency.get("p50"), latency.get("p95")]))

    for name, runs in summary["bags"].items():
        for number, (run, one) in enumerate(runs.items()):
            row("" if number else escape(name), run, one)
    for name in summary["failed"]:
        table.add_row(escape(name), "failed")
    if len(summary["bags"]) > 1:
        for run, one in summary["means"].items():
            row(f"[bold]mean over {one['objects']} objects", run, one)
    show.out.print(table)
