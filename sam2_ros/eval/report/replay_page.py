"""The report of `sam2-ros replay`: what the live node made of a bag, beside the tracker with all the time it wants.

Gets the runs as plain data and a way to see an image; does not know trackers, nodes or bags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import page, plots
from . import worst_frames as strips
from .data import ObjectRun, ReplayedRun, ReplayRun
from .page import Cell, Headline, Row, Section
from .parts import calibration_section, count_of, facts_of, moment_figure, states_key

MOMENTS_AT_MOST = 6
_ORDER = ("node", "recorded", "direct")
_CALLED = {"node": "live node", "recorded": "recording", "direct": "direct"}
_FACTS = {
    "command": "Command",
    "created": "Date",
    "versions": "Versions",
    "device": "Device",
    "model": "Model",
    "precision": "Precision",
    "image_size": "Input, px",
    "bag": "Bag",
    "topic": "Topic",
    "transport": "Images",
    "rate": "Rate",
    "truth": "Truth",
}


def write_replay_page(path: Path, replay: ReplayRun, scenes: strips.Scenes) -> None:
    """Write the report of a replay; `scenes` is asked for the images that are shown."""
    summary, runs = replay.summary, replay.runs
    moments = strips.worst_moments(_main(runs).objects, MOMENTS_AT_MOST, per_sequence=MOMENTS_AT_MOST)
    calibrations = {_CALLED[run.name]: run.measures.get("calibration") for run in runs}
    beside = " beside ".join(_CALLED[run.name] for run in _by_weight(runs))
    sections = [
        Section("price", "The price of real time" if len(runs) > 1 else "What was reached", _price(runs)),
        Section("objects", "Objects", _objects(runs)),
        Section("moments", "Worst moments", _moments(runs, moments, scenes)),
        Section("curves", "Over time", _curves(runs, moments)),
        Section("speed", "Speed", _speed(runs)),
        *calibration_section(calibrations, "count"),
        Section("made", "How it was made", _made(summary)),
    ]
    title = f"{summary['model'] or 'The node'} on {Path(str(summary['bag'])).name}: {beside}"
    page.write_page(path, "sam2-ros replay", title, _lead(replay), _headlines(runs), sections)


def _by_weight(runs: Sequence[ReplayedRun]) -> list[ReplayedRun]:
    """What a robot would see comes first."""
    return sorted(runs, key=lambda run: _ORDER.index(run.name))


def _main(runs: Sequence[ReplayedRun]) -> ReplayedRun:
    return _by_weight(runs)[0]


def _lead(replay: ReplayRun) -> str:
    summary = replay.summary
    objects = summary["prompts"]["objects"]
    text = (
        f"{count_of(summary['images'], 'image')} in {summary['duration_s']:.1f} s on {summary['topic']}, "
        f"{count_of(len(objects), 'object')}. An image that was dropped counts with the newest answer before it, "
        "as a robot would see it."
    )
    return page.paragraph(text) + "".join(page.paragraph(note, "note") for note in summary.get("notes", ()))


def _headlines(runs: Sequence[ReplayedRun]) -> list[Headline]:
    main, measures = _main(runs), _main(runs).measures
    direct = next((run.measures for run in runs if run.name == "direct" and run is not main), None)
    found = []
    if measures["JF"] is not None:
        found.append(Headline(f"{measures['JF']:.1f}", "%", f"J&F, {_CALLED[main.name]}"))
        if direct is not None and direct["JF"] is not None:
            found.append(Headline(f"{direct['JF']:.1f}", "%", "J&F, direct"))
            found.append(
                Headline(f"{measures['JF'] - direct['JF']:+.1f}", "", "points: the price of real time")
            )
    found.append(Headline(f"{measures['processed']} / {measures['images_in']}", "", "images processed"))
    if latency := measures["latency_ms"]:
        found.append(Headline(f"{latency['p50']:.0f}", "ms", "latency, p50"))
        found.append(Headline(f"{latency['p95']:.0f}", "ms", "latency, p95"))
    return found


def _price(runs: Sequence[ReplayedRun]) -> str:
    """Every measure of every run, one column each, and what the live run lost where there are two."""
    main, direct = _main(runs), next((run for run in runs if run.name == "direct"), None)
    compared = direct is not None and direct is not main
    header = [Cell("measure"), *(Cell(_CALLED[run.name], number=True) for run in runs)]
    if compared:
        header.append(Cell("difference", number=True))
    rows = []
    for title, digits, value in _MEASURES:
        values = {run.name: value(run.measures) for run in runs}
        if all(one is None for one in values.values()):
            continue
        cells = [Cell(title), *(page.number(values[run.name], digits) for run in runs)]
        if compared:
            live, ideal = values[main.name], values["direct"]
            known = live is not None and ideal is not None
            cells.append(Cell(f"{live - ideal:+.{digits}f}" if known else "", number=True))
        rows.append(Row(cells))
    return page.table(header, rows, "Measures of every run")


def _share(name: str) -> Any:
    return lambda run: None if run.get(name) is None else 100 * run[name]


def _inside(outer: str, inner: str) -> Any:
    return lambda run: (run.get(outer) or {}).get(inner)


def _plain(name: str) -> Any:
    return lambda run: run.get(name)


# Title, digits after the point, and where it is in a run's part of the JSON.
_MEASURES: Sequence[tuple[str, int, Any]] = (
    ("J&F as a robot sees it, %", 1, _plain("JF")),
    ("J, %", 1, _plain("J")),
    ("F, %", 1, _plain("F")),
    ("J&F of processed images, %", 1, _inside("processed_only", "JF")),
    ("images processed", 0, _plain("processed")),
    ("images dropped", 0, _plain("dropped")),
    ("images that do not decode", 0, _plain("skipped")),
    ("longest gap, s", 2, _plain("longest_gap_s")),
    ("images per second", 1, _plain("fps")),
    ("latency p50, ms", 1, _inside("latency_ms", "p50")),
    ("latency p95, ms", 1, _inside("latency_ms", "p95")),
    ("latency p99, ms", 1, _inside("latency_ms", "p99")),
    ("visible but missed, %", 1, _share("missed")),
    ("hidden but called visible, %", 1, _share("false_presence")),
    ("on another object, %", 1, _share("identity_wrong")),
    ("identity switches", 0, _plain("identity_switches")),
    ("first mask after, s", 2, _inside("time_to_first_mask_s", "mean")),
    ("said to be hidden after, s", 2, _inside("time_to_lost_s", "mean")),
    ("found again after, s", 2, _inside("time_to_recover_s", "mean")),
    ("never found again", 0, _inside("time_to_recover_s", "never")),
)


_OBJECT_COLUMNS = ("J&F", "J", "F", "frames", "missed", "false presence")


def _objects(runs: Sequence[ReplayedRun]) -> str:
    """One row for each object and run."""
    header = [
        Cell("object and run"),
        *(page.heading(title, bar=title == "J&F") for title in _OBJECT_COLUMNS),
    ]
    rows = []
    for first in runs[0].objects:
        for run in runs:
            one = _same(run, first)
            scores = one.scores
            missed, false = (
                None if scores.get(name) is None else 100 * (scores[name] or 0.0)
                for name in ("missed", "false_presence")
            )
            rows.append(
                Row(
                    [
                        Cell(f"{first.id}, {_CALLED[run.name]}"),
                        page.number(scores.get("JF"), bar=True),
                        page.number(scores.get("J")),
                        page.number(scores.get("F")),
                        page.number(scores.get("frames"), 0),
                        page.number(missed),
                        page.number(false),
                    ]
                )
            )
    note = (
        "J, F, J&F, missed and false presence in percent. Missed: of the images that show the object, those in which "
        "it was not TRACKING; false presence: of those that do not, those in which it was."
    )
    return page.table(header, rows, "Scores of every object") + page.paragraph(note, "note")


def _same(run: ReplayedRun, one: ObjectRun) -> ObjectRun:
    return next(other for other in run.objects if other.id == one.id)


def _moments(runs: Sequence[ReplayedRun], moments: Sequence[strips.Moment], scenes: strips.Scenes) -> str:
    if not moments:
        return page.paragraph("There is no image with a known mask in which an object can be seen.")
    shown = _by_weight(runs)
    found = scenes([(run.name, moment.position) for moment in moments for run in shown])
    figures = []
    for moment in moments:
        for run in shown:
            one = _same(run, moment.object)
            assert one.curve is not None
            fresh = one.details["curve"]["processed"][moment.position]
            when = f"{one.id}, image {moment.position} at {moment.at:.2f} s" + ("" if fresh else " (dropped)")
            scene = found.get((run.name, moment.position))
            figures.append(moment_figure(_CALLED[run.name], when, one, one.curve.j[moment.position], scene))
    note = (
        f"The lowest J of images in which the object can be seen, in what the {_CALLED[shown[0].name]} said, the worst "
        "first, spread over time. Tinted: the answer. White outline: the truth."
    )
    kind = "frames pairs" if len(shown) == 2 else "frames"
    return page.paragraph(note, "note") + page.grid(kind, figures)


def _curves(runs: Sequence[ReplayedRun], moments: Sequence[strips.Moment]) -> str:
    figures = []
    for first in runs[0].objects:
        series = [
            plots.Series(_CALLED[run.name], curve, plots.SERIES_COLOURS[place])
            for place, run in enumerate(runs)
            if (curve := _same(run, first).curve) is not None and curve.at
        ]
        if series:
            marks = [(moment.at, moment.j) for moment in moments if moment.object.id == first.id]
            svg = plots.curve_svg(first.id, series, "s", marks)
            told = f"J, presence and state of {first.id} over time"
            figures.append(page.image("image/svg+xml", svg, told))
    note = page.paragraph("Rings: the moments above.", "note") if moments else ""
    return note + states_key() + page.grid("curves", figures)


def _speed(runs: Sequence[ReplayedRun]) -> str:
    latencies = {_CALLED[run.name]: run.measures["latency_ms"] for run in runs if run.measures["latency_ms"]}
    if not latencies:
        return page.paragraph("No image was timed.")
    meanings = "".join(
        page.paragraph(f"{_CALLED[run.name]}: {run.measures['latency_meaning']}", "note") for run in runs
    )
    percentiles = list(next(iter(latencies.values())))
    header = [Cell("run"), *(Cell(f"{name}, ms", number=True) for name in percentiles)]
    rows = [
        Row([Cell(name), *(page.number(times.get(one)) for one in percentiles)])
        for name, times in latencies.items()
    ]
    table = page.table(header, rows, "Percentiles of the latency")
    return page.grid("curves", [*map(_histogram, runs), table]) + meanings


def _histogram(run: ReplayedRun) -> str:
    times, called = run.measures["latencies_ms"], _CALLED[run.name]
    if not times:
        return page.paragraph(f"No image of the {called} was timed.", "note")
    svg = plots.histogram_svg(times, run.measures["latency_ms"], called)
    return page.image(
        "image/svg+xml", svg, f"Histogram of the latency, {called}, {count_of(len(times), 'image')}"
    )


def _made(summary: Mapping[str, Any]) -> str:
    shown = dict(summary)
    if truth := summary.get("truth"):
        shown["truth"] = truth["source"] + (f", {truth['topic']}" if truth.get("topic") else "")
    values = {**facts_of(shown, _FACTS), "Prompts": _prompts(summary["prompts"])}
    return page.facts(values, ("Command",))


def _prompts(prompts: Mapping[str, Any]) -> str:
    given = ", ".join(f"{key} on image {one['frame']}" for key, one in prompts["objects"].items())
    return f"{prompts['file']}: {given}"
