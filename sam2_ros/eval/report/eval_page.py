# SPDX-License-Identifier: Apache-2.0
"""The report of `sam2-ros eval`: scores, worst frames, curves, speed, calibration and settings.

Gets the run as plain data and a function that reads frames; does not know trackers or datasets. The text is in
`templates/eval.html`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sam2_ros.eval.metrics import spread
from sam2_ros.text import counted

from . import plots
from .data import EvalReport, ReportedObject, ReportedSequence, Scores
from .parts import calibration_section, facts_of, frame_picture
from .render import Headline, Picture, svg, write_page
from .worst_frames import ReadFrames, WorstFrame, choose_worst_frames

PICTURES_AT_MOST = 12
CURVES_AT_MOST = 60
"""Most objects with curves; of a larger dataset, those with the lowest J&F, so that the page stays readable."""

_PROMPTS = {
    "mask": "its true mask",
    "box": "a box",
    "click1": "one click",
    "click3": "three clicks",
    "click5": "five clicks",
    "online": "three clicks, and three more on every frame where its mask was poor",
}
_FACTS = {
    "numerics": "Numerics",
    "memory": "Memory",
    "dataset": "Dataset",
    "split": "Split",
    "prompt": "Prompt",
    "workers": "Processes",
    "threads": "Threads per process",
}


class Column(NamedTuple):
    """One column of a table of scores. `name`: the key in the JSON."""

    name: str
    title: str
    digits: int


_COLUMNS = (
    Column("JF", "J&F", 1),
    Column("J", "J", 1),
    Column("F", "F", 1),
    Column("decay", "decay", 1),
    Column("absent", "absent", 0),
    Column("false_presence", "false presence", 0),
    Column("frames", "frames", 0),
    Column("fps", "fps", 1),
)


class Row(NamedTuple):
    """One row of a table of scores. `others`: J&F of the baselines; `kind`: "part" of the row above, or "total"."""

    name: str
    scores: Scores
    others: Sequence[float | None]
    kind: str = ""


def write_eval_page(path: Path, run: EvalReport, read_frames: ReadFrames) -> None:
    """Writes the report of an evaluation. `read_frames` is called for the frames that are shown."""
    summary, baselines = run.summary, run.summary.get("baselines", {})
    worst = choose_worst_frames(run.objects, PICTURES_AT_MOST)
    rows = _rows(run, baselines)
    group_rows = [
        Row(name, scores, [other["groups"][name]["JF"] for other in baselines.values()])
        for name, scores in summary.get("groups", {}).items()
    ]
    with_curves = [one for one in run.objects if one.curve is not None and one.curve.at]
    drawn = with_curves
    if len(drawn) > CURVES_AT_MOST:
        lowest = sorted(drawn, key=lambda one: one.scores["JF"] or 0.0)[:CURVES_AT_MOST]
        drawn = [one for one in drawn if one in lowest]
    steps_ms = [step for sequence in run.sequences for step in sequence.steps_ms]
    percentiles = spread(steps_ms).as_dict()
    alt = f"Histogram of the times of {counted(len(steps_ms), 'frame')}"
    write_page(
        path,
        "eval.html",
        command="sam2-ros eval",
        title=f"{summary['model']} on {Path(str(summary['dataset'])).name}",
        headlines=_headlines(summary),
        object_count=len(run.objects),
        sequence_count=len(run.sequences),
        prompt=_PROMPTS.get(summary["prompt"], summary["prompt"]),
        device=summary["device"],
        failed=summary.get("failed", {}),
        columns=_known_columns(rows[:-1]),  # the last row is the mean of the others
        rows=rows,
        group_columns=_known_columns(group_rows),
        group_rows=group_rows,
        baseline_titles=[f"{method} J&F" for method in baselines],
        worst_frames=_pictures(worst, read_frames),
        objects_with_curves=len(with_curves),
        curves=[_curve(one, [place for place in worst if place.object is one]) for one in drawn],
        percentiles=percentiles,
        histogram=svg(plots.histogram_svg(steps_ms, percentiles), alt) if steps_ms else None,
        calibrated=calibration_section({str(summary["model"]): summary.get("calibration")}, "frames"),
        made=facts_of(summary, _FACTS),
    )


def _headlines(summary: Mapping[str, Any]) -> list[Headline]:
    wanted = [
        (summary["JF"], "%", "J&F, mean over objects", 1),
        (summary["J"], "%", "J, overlap", 1),
        (summary["F"], "%", "F, outline", 1),
        (summary.get("decay"), "", "points of decay", 1),
        (summary.get("absent"), "%", "of absent objects: empty mask", 0),
        (summary["fps"], "", "frames per second", 1),
        (summary["latency_ms"].get("p95"), "ms", "latency, p95", 0),
    ]
    return [
        Headline(f"{value:.{digits}f}", unit, what)
        for value, unit, what, digits in wanted
        if value is not None
    ]


def _rows(run: EvalReport, baselines: Mapping[str, Any]) -> list[Row]:
    """A row per sequence, a row per object of sequences with several, and the mean."""
    rows = []
    for sequence in run.sequences:
        rows.append(
            Row(sequence.name, _scores(sequence), [sequence.baselines.get(name) for name in baselines])
        )
        for one in sequence.objects if len(sequence.objects) > 1 else ():
            of_object = sequence.object_baselines.get(one.id, {})
            rows.append(
                Row(f"object {one.id}", one.scores, [of_object.get(name) for name in baselines], "part")
            )
    means = [one["JF"] for one in baselines.values()]
    rows.append(Row(f"mean over {counted(len(run.objects), 'object')}", run.summary, means, "total"))
    return rows


def _scores(sequence: ReportedSequence) -> Scores:
    """The scores of a sequence; with a single object also those that only objects have."""
    frames = max(((one.scores.get("frames") or 0) for one in sequence.objects), default=None)
    alone = sequence.objects[0].scores if len(sequence.objects) == 1 else {}
    return {**alone, "frames": frames, **sequence.scores}


def _known_columns(rows: Sequence[Row]) -> list[Column]:
    return [one for one in _COLUMNS if any(row.scores.get(one.name) is not None for row in rows)]


def _pictures(worst: Sequence[WorstFrame], read_frames: ReadFrames) -> list[Picture]:
    keys = [(one.object.sequence, int(one.at)) for one in worst]
    found = read_frames(keys) if keys else {}
    return [
        frame_picture(one.object.name, f"frame {one.at:.0f}", one.object, one.j, found.get(key))
        for one, key in zip(worst, keys, strict=True)
    ]


def _curve(one: ReportedObject, worst: Sequence[WorstFrame]) -> Picture:
    assert one.curve is not None
    series = [plots.Series("", one.curve, plots.line_colour(one.number))]
    plot = plots.curve_svg(one.name, series, "frame", [(place.at, place.j) for place in worst])
    mean = one.scores.get("J")
    told = "" if mean is None else f", mean J {mean:.1f} %"
    return svg(plot, f"J, presence and state of {one.name} over its frames{told}")
