# SPDX-License-Identifier: Apache-2.0
"""The report of `sam2-ros replay`: the live node compared with the tracker without real time.

Gets the runs as plain data and a function that reads images; does not know trackers, nodes or bags. The text is in
`templates/replay.html`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sam2_ros.text import counted

from . import plots
from .data import ReplayReport, ReportedObject, ReportedRun
from .parts import calibration_section, facts_of, frame_picture
from .render import Headline, Picture, svg, write_page
from .worst_frames import ReadFrames, WorstFrame, choose_worst_frames

PICTURES_AT_MOST = 6
_ORDER = ("node", "recorded", "direct")
"""The runs of a replay, by preference: what a robot would receive comes first."""
_TITLES = {"node": "live node", "recorded": "recording", "direct": "direct"}
_FACTS = {"bag": "Bag", "topic": "Topic", "transport": "Images", "rate": "Rate", "truth": "Truth"}


def write_replay_page(path: Path, replay: ReplayReport, read_frames: ReadFrames) -> None:
    """Writes the report of a replay. `read_frames` is called for the images that are shown."""
    summary, runs = replay.summary, replay.runs
    ordered = sorted(runs, key=lambda run: _ORDER.index(run.name))
    main = ordered[0]
    direct = next((run for run in runs if run.name == "direct" and run is not main), None)
    worst = choose_worst_frames(main.objects, PICTURES_AT_MOST, per_sequence=PICTURES_AT_MOST)
    latencies = {_TITLES[run.name]: run.measures["latency_ms"] for run in runs if run.measures["latency_ms"]}
    model, bag = summary["model"] or "The node", Path(str(summary["bag"])).name
    write_page(
        path,
        "replay.html",
        command="sam2-ros replay",
        title=f"{model} on {bag}: {' beside '.join(_TITLES[run.name] for run in ordered)}",
        headlines=_headlines(main, direct),
        summary=summary,
        run_titles=[_TITLES[run.name] for run in runs],
        compared=direct is not None,
        measures=_measures(runs, main, direct),
        objects=[
            (f"{first.id}, {_TITLES[run.name]}", _same(run, first).scores)
            for first in runs[0].objects
            for run in runs
        ],
        main_title=_TITLES[main.name],
        pairs=len(runs) == 2,
        worst_frames=_pictures(ordered, worst, read_frames),
        curves=_curves(runs, worst),
        latencies=latencies,
        histograms=[(_TITLES[run.name], run.measures["latency_meaning"], _histogram(run)) for run in runs],
        calibrated=calibration_section(
            {_TITLES[run.name]: run.measures.get("calibration") for run in runs}, "count"
        ),
        made=_facts(summary),
    )


def _headlines(main: ReportedRun, direct: ReportedRun | None) -> list[Headline]:
    measures, found = main.measures, []
    if measures["JF"] is not None:
        found.append(Headline(f"{measures['JF']:.1f}", "%", f"J&F, {_TITLES[main.name]}"))
        ideal = None if direct is None else direct.measures["JF"]
        if ideal is not None:
            found.append(Headline(f"{ideal:.1f}", "%", "J&F, direct"))
            found.append(Headline(f"{measures['JF'] - ideal:+.1f}", "", "points: the cost of real time"))
    found.append(Headline(f"{measures['processed']} / {measures['images_in']}", "", "images processed"))
    if latency := measures["latency_ms"]:
        found.append(Headline(f"{latency['p50']:.0f}", "ms", "latency, p50"))
        found.append(Headline(f"{latency['p95']:.0f}", "ms", "latency, p95"))
    return found


def _value(key: str, inner: str = "", scale: float = 1.0) -> Callable[[Mapping[str, Any]], float | None]:
    """A function that reads a number from a run's part of the JSON; None if it is missing."""

    def get(measures: Mapping[str, Any]) -> float | None:
        found = (measures.get(key) or {}).get(inner) if inner else measures.get(key)
        return None if found is None else scale * found

    return get


# Title, decimals, and the function that reads the value.
_MEASURES: Sequence[tuple[str, int, Callable[[Mapping[str, Any]], float | None]]] = (
    ("J&F as a robot sees it, %", 1, _value("JF")),
    ("J, %", 1, _value("J")),
    ("F, %", 1, _value("F")),
    ("J&F of processed images, %", 1, _value("processed_only", "JF")),
    ("images processed", 0, _value("processed")),
    ("images dropped", 0, _value("dropped")),
    ("images that could not be decoded", 0, _value("skipped")),
    ("longest gap, s", 2, _value("longest_gap_s")),
    ("images per second", 1, _value("fps")),
    ("latency p50, ms", 1, _value("latency_ms", "p50")),
    ("latency p95, ms", 1, _value("latency_ms", "p95")),
    ("latency p99, ms", 1, _value("latency_ms", "p99")),
    ("visible but missed, %", 1, _value("missed", scale=100)),
    ("hidden but reported visible, %", 1, _value("false_presence", scale=100)),
    ("on another object, %", 1, _value("identity_wrong", scale=100)),
    ("identity switches", 0, _value("identity_switches")),
    ("first mask after, s", 2, _value("time_to_first_mask_s", "mean")),
    ("reported hidden after, s", 2, _value("time_to_lost_s", "mean")),
    ("found again after, s", 2, _value("time_to_recover_s", "mean")),
    ("never found again", 0, _value("time_to_recover_s", "never")),
)


def _measures(
    runs: Sequence[ReportedRun], main: ReportedRun, direct: ReportedRun | None
) -> list[tuple[str, int, list[float | None], str]]:
    """Title, decimals, the value of every run, and main minus direct as text, empty unless both have a value."""
    rows = []
    for title, digits, value in _MEASURES:
        values = [value(run.measures) for run in runs]
        if all(one is None for one in values):
            continue
        ours, ideal = value(main.measures), None if direct is None else value(direct.measures)
        difference = "" if ours is None or ideal is None else f"{ours - ideal:+.{digits}f}"
        rows.append((title, digits, values, difference))
    return rows


def _same(run: ReportedRun, one: ReportedObject) -> ReportedObject:
    return next(other for other in run.objects if other.id == one.id)


def _pictures(
    ordered: Sequence[ReportedRun], worst: Sequence[WorstFrame], read_frames: ReadFrames
) -> list[Picture]:
    """Each of the worst images, with the answer of every run."""
    found = read_frames([(run.name, one.position) for one in worst for run in ordered]) if worst else {}
    pictures = []
    for place in worst:
        for run in ordered:
            one, position = _same(run, place.object), place.position
            assert one.curve is not None
            dropped = "" if one.details["curve"]["processed"][position] else " (dropped)"
            when = f"{one.id}, image {position} at {place.at:.2f} s{dropped}"
            frame = found.get((run.name, position))
            pictures.append(frame_picture(_TITLES[run.name], when, one, one.curve.j[position], frame))
    return pictures


def _curves(runs: Sequence[ReportedRun], worst: Sequence[WorstFrame]) -> list[Picture]:
    figures = []
    for first in runs[0].objects:
        series = [
            plots.Series(_TITLES[run.name], curve, plots.SERIES_COLOURS[place])
            for place, run in enumerate(runs)
            if (curve := _same(run, first).curve) is not None and curve.at
        ]
        if series:
            marked = [(one.at, one.j) for one in worst if one.object.id == first.id]
            plot = plots.curve_svg(first.id, series, "s", marked)
            figures.append(svg(plot, f"J, presence and state of {first.id} over time"))
    return figures


def _histogram(run: ReportedRun) -> Picture | None:
    times_ms, title = run.measures["latencies_ms"], _TITLES[run.name]
    if not times_ms:
        return None
    plot = plots.histogram_svg(times_ms, run.measures["latency_ms"], title)
    return svg(plot, f"Histogram of the latency, {title}, {counted(len(times_ms), 'image')}")


def _facts(summary: Mapping[str, Any]) -> dict[str, str]:
    shown = dict(summary)
    if truth := summary.get("truth"):
        shown["truth"] = truth["source"] + (f", {truth['topic']}" if truth.get("topic") else "")
    prompts = summary["prompts"]
    given = ", ".join(f"{key} on image {one['frame']}" for key, one in prompts["objects"].items())
    return {**facts_of(shown, _FACTS), "Prompts": f"{prompts['file']}: {given}"}
