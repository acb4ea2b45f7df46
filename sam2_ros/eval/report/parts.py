"""Sections that the reports of `eval` and `replay` share: the worst moments, calibration, how a run was made.

Knows the page's parts and plots; does not know which of the two is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import page, plots
from . import worst_frames as strips
from .data import ObjectRun
from .page import Cell, Row, Section


def moments_section(moments: Sequence[strips.Moment], scenes: strips.Scenes) -> Section:
    """The worst moments of sequences as pictures."""
    if not moments:
        text = "There is no frame with a known mask in which an object can be seen."
        return Section("moments", "Worst moments", page.paragraph(text))
    note = (
        "The lowest J of frames in which the object can be seen, the worst first, spread over time. Tinted: the "
        "answer. White outline: the truth."
    )
    places = [(moment.object.sequence, int(moment.at)) for moment in moments]
    found = scenes(places)
    figures = [
        moment_figure(moment.object.name, f"frame {moment.at:.0f}", moment.object, moment.j, found.get(place))
        for moment, place in zip(moments, places, strict=True)
    ]
    return Section("moments", "Worst moments", page.paragraph(note, "note") + page.grid("frames", figures))


def moment_figure(whose: str, when: str, one: ObjectRun, j: float | None, scene: strips.Scene | None) -> str:
    """One picture with its caption, or only the caption where the frame could not be read."""
    told = f"{whose}, {when}" + ("" if j is None else f": J\u00a0{j:.1f}\u00a0%")
    if scene is None:
        return page.paragraph(f"{told}. The frame does not decode.", "note")
    answer = scene.answers.get(one.id)
    if answer is None or not answer.any():
        told += ", no answer"
    picture = strips.jpeg(strips.draw_moment(scene, one.id, one.number))
    return page.image("image/jpeg", picture, f"Picture: {told}", told)


def states_key() -> str:
    """What the colours of the bands mean."""
    states = {state.lower(): colour for state, colour in plots.STATE_COLOURS.items()}
    return page.colour_key(states | {"truth shows no object": plots.HIDDEN_COLOUR})


def calibration_section(calibrations: Mapping[str, Mapping[str, Any] | None], counted: str) -> list[Section]:
    """How far the presence can be believed, by run; nothing where nothing was counted."""
    known = {
        name: one for name, one in calibrations.items() if one is not None and one.get("ece") is not None
    }
    if not known:
        return []
    bins = {name: one["bins"] for name, one in known.items()}
    rows = [
        Row([Cell(name), page.number(one["ece"], 3), page.number(one.get(counted), 0)])
        for name, one in known.items()
    ]
    text = (
        "The presence as a probability, and the share of frames in which the object could be seen. On the broken line "
        "the two agree; above it the tracker is too timid, below it too sure. ECE: the mean distance over the frames."
    )
    svg = plots.reliability_svg(bins, counted)
    figure = page.image("image/svg+xml", svg, "Reliability of the presence")
    header = [Cell("run"), Cell("ECE", number=True), Cell("frames", number=True)]
    table = page.table(header, rows, "Expected calibration error")
    body = page.paragraph(text) + page.grid("curves", [figure, table])
    return [Section("calibration", "Can the presence be believed?", body)]


def facts_of(summary: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """What is known of how a run was made, in words; `names`: key -> heading."""
    return {
        heading: _words(key, summary[key])
        for key, heading in names.items()
        if summary.get(key) not in (None, "", {}, [])
    }


def count_of(count: int, what: str) -> str:
    """`1 object`, `2 objects`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _words(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {entry}" for name, entry in value.items() if entry is not None)
    if isinstance(value, list):
        return " ".join(str(entry) for entry in value)
    return str(value).replace("T", " ") if key == "created" else str(value)
