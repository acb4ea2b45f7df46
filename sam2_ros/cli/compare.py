# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros compare`: compares two runs, tells whether their difference is significant, and can fail a CI job.

Does not compute the comparison: prints it, and turns it into an exit status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from sam2_ros.errors import UserError

from . import output as show
from .options import JsonOption

if TYPE_CHECKING:
    from sam2_ros.eval.compare.comparison import Comparison, ObjectPair


def compare(
    a: Annotated[
        Path, typer.Argument(help="The old run: summary.json of `eval` or `replay`, or its folder.")
    ],
    b: Annotated[Path, typer.Argument(help="The new run, of the same kind.")],
    metric: Annotated[
        str,
        typer.Option(
            help="Metric to compare: JF, J, F, decay, absent or false_presence; of replays also missed; of photographs "
            "IoU. Default: JF; of photographs IoU."
        ),
    ] = "",
    run: Annotated[
        str,
        typer.Option(
            help="Which run of two replays: node, recorded or direct. Default: the first that both have."
        ),
    ] = "",
    fail_below: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Exit with status 1 if B is worse than A by more than this many points on average, or if B failed on "
            "a sequence that A has. Default: no limit.",
        ),
    ] = None,
    certain: Annotated[
        bool,
        typer.Option(
            "--certain",
            help="With --fail-below: compare the bound of the interval with the limit, not the mean, so that only a "
            "significant loss fails.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Compare two runs object by object: means, difference, a paired bootstrap interval, speed.

    Prints a table; writes no files. Exit status: 0; with --fail-below, 1 if B
    is worse than the limit allows; 2 if the runs cannot be compared.
    """
    from sam2_ros.eval.compare.comparison import compare_files

    if certain and fail_below is None:
        raise UserError("--certain given without --fail-below: expected both, or neither")
    comparison = compare_files(a, b, metric, run)
    loss = comparison.significantly_worse_by if certain else comparison.worse_by
    if loss is None:
        raise UserError(
            f"--certain needs an interval, and {comparison.found.units} objects or sequences are too few for a "
            "reliable one: leave --certain out, or evaluate more"
        )
    _print(comparison)
    report = comparison.as_dict()
    failures = [] if fail_below is None else _failures(comparison, loss, fail_below, certain)
    if fail_below is not None:
        report["gate"] = {"fail_below": fail_below, "certain": certain, "failures": failures}
    for line in failures:
        show.err.print(escape(line), highlight=False, soft_wrap=True)
    show.print_json(as_json, report)
    return 1 if failures else 0


def _failures(comparison: Comparison, loss: float, limit: float, certain: bool) -> list[str]:
    """The reasons to exit with status 1, one line each; empty if there is none."""
    lines = []
    if loss > limit:
        how = "significantly" if certain else "on average"
        lines.append(f"B is {how} worse by {loss:.2f} points, at most {limit:g} allowed (--fail-below)")
    if comparison.failed_in_b:
        lines.append(f"B failed on what A has: {', '.join(comparison.failed_in_b)}")
    return lines


def _print(comparison: Comparison) -> None:
    """Prints the differences in set-up, the table, the verdict, speed, and what was left out."""
    show.line(escape(f"A: {comparison.a.path}\nB: {comparison.b.path}"))
    _print_unlike("Different tasks: the scores are not comparable", comparison.unlike_task)
    _print_unlike("Different set-up", comparison.unlike_setup)
    show.out.print(_table(comparison))
    show.line(f"[bold]{escape(comparison.sentence())}[/bold]")
    if method := comparison.method():
        show.line(method)
    for name, (a, b) in comparison.speed().items():
        ratio = f", B / A {b / a:.2f}" if a else ""
        show.line(f"{name}: A {a:.2f}, B {b:.2f}{ratio}")
    if comparison.only_in_a or comparison.only_in_b:
        show.line("Speed covers everything that each run did, not only the shared sequences.")
    for name, keys in (("A", comparison.only_in_a), ("B", comparison.only_in_b)):
        if keys:
            show.line(f"Only in {name}, left out: {escape(', '.join('/'.join(key) for key in keys))}")
    for name, failed in (("A", comparison.a.failed), ("B", comparison.b.failed)):
        for sequence, why in failed.items():
            show.line(f"Failed in {name}: {escape(sequence)}: {escape(why)}")


def _print_unlike(title: str, unlike: Mapping[str, tuple[str, str]]) -> None:
    if unlike:
        listed = "; ".join(f"{name}: {a} | {b}" for name, (a, b) in unlike.items())
        show.line(f"{title} (A | B): {escape(listed)}")


def _table(comparison: Comparison) -> Table:
    from sam2_ros.eval.compare.comparison import METRICS

    title = METRICS[comparison.metric].title
    table = show.columns()
    table.add_column(comparison.sequence_word() if comparison.a.kind != "replay" else "run")
    table.add_column("object")
    for name in (f"A {title}", f"B {title}", "B - A"):
        table.add_column(name, justify="right")
    for name, pairs in comparison.by_sequence().items():
        table.add_row(escape(name), str(len(pairs)), *_cells(pairs))
        if len(pairs) > 1:
            for pair in pairs:
                table.add_row("", f"id {escape(pair.key[1])}", *_cells([pair]))
    for name, pairs in comparison.by_group().items():
        table.add_row(f"[bold]mean of {escape(name)}", str(len(pairs)), *_cells(pairs))
    table.add_row("[bold]mean over objects", str(len(comparison.pairs)), *_cells(comparison.pairs))
    return table


def _cells(pairs: Sequence[ObjectPair]) -> list[str]:
    from sam2_ros.eval.compare.comparison import mean_of

    a, b = mean_of(pairs)
    return [f"{a:.1f}", f"{b:.1f}", f"{b - a:+.1f}"]
