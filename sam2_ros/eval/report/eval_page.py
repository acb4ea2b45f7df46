"""The report of `sam2-ros eval`: what was reached, where it went wrong, how fast it was, and what made it.

Gets the run as plain data and a way to see a frame; does not know trackers or data sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sam2_ros.eval.metrics import spread

from . import page, plots
from . import worst_frames as strips
from .data import EvalRun, ObjectRun, SequenceRun
from .page import Cell, Headline, Row, Section
from .parts import calibration_section, count_of, facts_of, moments_section, states_key

PICTURES_AT_MOST = 12
CURVES_AT_MOST = 60
"""Objects with curves, of a large data set those with the lowest J&F: a page of hundreds is read by nobody."""

_PROMPTS = {
    "mask": "its true mask",
    "box": "a box",
    "click1": "one click",
    "click3": "three clicks",
    "click5": "five clicks",
    "online": "three clicks, and three more wherever it was covered badly",
}
# Column -> what its cells are of, digits after the point.
_COLUMNS = {
    "JF": ("J&F", 1),
    "J": ("J", 1),
    "F": ("F", 1),
    "decay": ("decay", 1),
    "absent": ("absent", 0),
    "false_presence": ("false presence", 0),
    "frames": ("frames", 0),
    "fps": ("fps", 1),
}

_MEANT = {
    "decay": " Decay: points of J&F lost from the first to the last quarter of the frames; below 0 it got better.",
    "absent": " Absent: of the frames that do not show an object, those with an empty answer, in percent.",
    "false_presence": " False presence: of the same frames, those in which it was called visible, in percent.",
}


def write_eval_page(path: Path, run: EvalRun, scenes: strips.Scenes) -> None:
    """Write the report of an evaluation; `scenes` is asked for the frames that are shown."""
    summary = run.summary
    moments = strips.worst_moments(run.objects, PICTURES_AT_MOST)
    sections = [
        Section("sequences", "Sequences and objects", _sequences(run)),
        *([Section("groups", "Groups", _groups(summary))] if len(summary.get("groups", ())) > 1 else []),
        moments_section(moments, scenes),
        Section("curves", "Over time", _curves(run, moments)),
        Section("speed", "Speed", _speed(run)),
        *calibration_section({str(summary["model"]): summary.get("calibration")}, "frames"),
        *(
            [Section("failed", "Failed sequences", _failed(summary["failed"]))]
            if summary.get("failed")
            else []
        ),
        Section("made", "How it was made", page.facts(facts_of(summary, _FACTS), ("Command",))),
    ]
    data = Path(str(summary["dataset"])).name
    title = f"{summary['model']} on {data}"
    page.write_page(path, "sam2-ros eval", title, _lead(run), _headlines(summary), sections)


_FACTS = {
    "command": "Command",
    "created": "Date",
    "versions": "Versions",
    "device": "Device",
    "model": "Model",
    "precision": "Precision",
    "image_size": "Input, px",
    "numerics": "Numerics",
    "memory": "Memory",
    "dataset": "Data set",
    "split": "Split",
    "prompt": "Prompt",
    "workers": "Processes",
    "threads": "Threads of each",
}


def _lead(run: EvalRun) -> str:
    summary = run.summary
    given = _PROMPTS.get(summary["prompt"], summary["prompt"])
    text = (
        f"{count_of(len(run.objects), 'object')} of {count_of(len(run.sequences), 'sequence')}, each prompted with "
        f"{given} on the first frame that shows it, then followed to the end on {summary['device']}."
    )
    failed = summary.get("failed", {})
    alarm = (
        f'<p class="alarm"><b>{count_of(len(failed), "sequence")} failed</b> and '
        f'{"is" if len(failed) == 1 else "are"} in no number on this page: <a href="#failed">which, and why</a>.</p>'
        if failed
        else ""
    )
    return page.paragraph(text) + alarm


def _headlines(summary: Mapping[str, Any]) -> list[Headline]:
    latency = summary["latency_ms"]
    wanted = [
        (summary["JF"], "%", "J&F, mean over objects", 1),
        (summary["J"], "%", "J, overlap", 1),
        (summary["F"], "%", "F, outline", 1),
        (summary.get("decay"), "", "points of decay", 1),
        (summary.get("absent"), "%", "absent, and called so", 0),
        (summary["fps"], "", "frames per second", 1),
        (latency.get("p95"), "ms", "latency, p95", 0),
    ]
    return [
        Headline(f"{value:.{digits}f}", unit, what)
        for value, unit, what, digits in wanted
        if value is not None
    ]


def _sequences(run: EvalRun) -> str:
    of_sequences = [{name: _value(one, name) for name in _COLUMNS} for one in run.sequences]
    known = [*of_sequences, *(one.scores for one in run.objects)]
    columns = [name for name in _COLUMNS if any(scores.get(name) is not None for scores in known)]
    methods = list(run.summary.get("baselines", {}))
    header = [
        Cell("sequence"),
        *(page.heading(_COLUMNS[name][0], bar=name == "JF") for name in columns),
        *(Cell(f"{method} J&F", number=True) for method in methods),
    ]
    rows = []
    for sequence, whole in zip(run.sequences, of_sequences, strict=True):
        rows.append(_row(sequence.name, whole, columns, [sequence.beside.get(method) for method in methods]))
        for one in sequence.objects if len(sequence.objects) > 1 else ():
            beside = sequence.objects_beside.get(one.id, {})
            rows.append(
                _row(
                    f"object {one.id}",
                    one.scores,
                    columns,
                    [beside.get(method) for method in methods],
                    "part",
                )
            )
    others = [run.summary["baselines"][method]["JF"] for method in methods]
    rows.append(
        _row(f"mean over {count_of(len(run.objects), 'object')}", run.summary, columns, others, "total")
    )
    note = "J, F and J&F in percent." + "".join(_MEANT[name] for name in columns if name in _MEANT)
    return page.table(header, rows, "Scores of every sequence and object") + page.paragraph(note, "note")


def _value(sequence: SequenceRun, name: str) -> float | None:
    """Of a sequence with one object also what is known of that only."""
    if name in sequence.scores:
        return sequence.scores[name]
    if name == "frames" and sequence.objects:
        return max((one.scores.get("frames") or 0) for one in sequence.objects)
    return sequence.objects[0].scores.get(name) if len(sequence.objects) == 1 else None


def _row(
    name: str,
    scores: Mapping[str, Any],
    columns: Sequence[str],
    beside: Sequence[float | None],
    kind: str = "",
) -> Row:
    cells = [page.number(scores.get(column), _COLUMNS[column][1], bar=column == "JF") for column in columns]
    return Row([Cell(name), *cells, *(page.number(value) for value in beside)], kind)


def _groups(summary: Mapping[str, Any]) -> str:
    groups: Mapping[str, Mapping[str, float | None]] = summary["groups"]
    columns = [name for name in _COLUMNS if any(scores.get(name) is not None for scores in groups.values())]
    methods = summary.get("baselines", {})
    header = [
        Cell("group"),
        *(page.heading(_COLUMNS[name][0], bar=name == "JF") for name in columns),
        *(Cell(f"{method} J&F", number=True) for method in methods),
    ]
    rows = [
        _row(name, scores, columns, [other["groups"][name]["JF"] for other in methods.values()])
        for name, scores in groups.items()
    ]
    return page.table(header, rows, "Means over the objects of each group")


def _curves(run: EvalRun, moments: Sequence[strips.Moment]) -> str:
    drawn = [one for one in run.objects if one.curve is not None and one.curve.at]
    note = "Rings: the moments above."
    if len(drawn) > CURVES_AT_MOST:
        worst = sorted(drawn, key=lambda one: one.scores["JF"] or 0.0)[:CURVES_AT_MOST]
        note += f" Of {len(drawn)} objects the {CURVES_AT_MOST} with the lowest J&F."
        drawn = [one for one in drawn if one in worst]
    figures = [_curve(one, [moment for moment in moments if moment.object is one]) for one in drawn]
    return page.paragraph(note, "note") + states_key() + page.grid("curves", figures)


def _curve(one: ObjectRun, moments: Sequence[strips.Moment]) -> str:
    assert one.curve is not None
    svg = plots.curve_svg(
        one.name,
        [plots.Series("", one.curve, plots.line_colour(one.number))],
        "frame",
        [(moment.at, moment.j) for moment in moments],
    )
    mean = one.scores.get("J")
    told = "" if mean is None else f", mean J {mean:.1f} %"
    return page.image("image/svg+xml", svg, f"J, presence and state of {one.name} over its frames{told}")


def _speed(run: EvalRun) -> str:
    steps = [step for sequence in run.sequences for step in sequence.steps_ms]
    times = spread(steps).as_dict()
    text = "From an image to its masks, without reading files, scoring or drawing. More objects take longer."
    if not times:
        return page.paragraph("No frame was timed.")
    rows = [Row([Cell(name), page.number(value)]) for name, value in times.items()]
    svg = plots.histogram_svg(steps, times)
    figure = page.image("image/svg+xml", svg, f"Histogram of the times of {count_of(len(steps), 'frame')}")
    table = page.table([Cell("percentile"), Cell("ms", number=True)], rows, "Percentiles of the latency")
    return page.paragraph(text) + page.grid("curves", [figure, table])


def _failed(failed: Mapping[str, str]) -> str:
    rows = [Row([Cell(name), Cell(why, long=True)]) for name, why in failed.items()]
    return page.table([Cell("sequence"), Cell("why")], rows, "Sequences that gave no score")
