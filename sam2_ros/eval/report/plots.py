# SPDX-License-Identifier: Apache-2.0
"""All plots: scores over time, histograms of times and reliability as SVG for reports, and panels of lines as PNG.

Numbers in, bytes or a file out; does not know pages.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from sam2_ros.media.overlay import colour_of
from sam2_ros.text import readable

from .data import Curve

T = TypeVar("T")
STATE_COLOURS = {"TRACKING": "#2f7f86", "OCCLUDED": "#d9a441", "LOST": "#b3402e", "PENDING": "#b7bcc4"}
HIDDEN_COLOUR = "#d5d8de"
INK, QUIET, TINT = "#1b222c", "#56606d", "#0b6171"
SERIES_COLOURS = ("#7d8793", TINT, "#b0662a")
# Half the width of a page of 72 rem: one column on a phone, two on a desktop. Text of 7.5 points on 4.2 inches is
# readable at 360 and at 550 pixels.
_WIDTH_IN = 4.2
_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 7.5,
    "axes.edgecolor": "#9aa2ad",
    "axes.labelcolor": QUIET,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8,
    "axes.titlecolor": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": "#e4e2da",
    "grid.linewidth": 0.6,
}
if "text.parse_math" in matplotlib.rcParams:  # not in matplotlib 3.5, which Ubuntu 22.04 has
    _LOOK["text.parse_math"] = False  # names are shown as they are, with their dollar signs


@dataclass(frozen=True)
class Line:
    """One line of a panel; None makes a gap. `style`: further arguments of matplotlib's `plot`."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    style: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """Lines with a common y axis. `shaded`: an interval of x (from, to) and its name."""

    y_label: str
    lines: Sequence[Line]
    from_zero: bool = True
    shaded: tuple[float, float, str] | None = None


@dataclass(frozen=True)
class Series:
    """One line of a plot over time, with its band of states below the plot."""

    name: str
    curve: Curve
    colour: str


def curve_svg(
    title: str, series: Sequence[Series], x_label: str, marked: Sequence[tuple[float, float]] = ()
) -> bytes:
    """J, presence and a band of states over time for each series; grey where the object is hidden in the ground truth.

    `marked`: (x, J) of the frames that are shown as pictures.
    """
    with matplotlib.rc_context(_LOOK):
        bands = len(series)
        height_in = 2.15 + 0.17 * bands
        # Fixed margins: measuring the texts would take most of the time, for each object.
        heights = (3, 1.3, *([0.24] * bands))
        figure, (score, presence, *states) = _figure(
            2 + bands, (_WIDTH_IN, height_in), heights, measured=False
        )
        figure.subplots_adjust(0.125, 0.38 / height_in, 0.985, 1 - 0.22 / height_in, hspace=0.16)
        for start, end in hidden_spans(series[0].curve):
            for axes in (score, presence):
                axes.axvspan(start, end, color=HIDDEN_COLOUR, lw=0)
        for one in series:
            score.plot(one.curve.at, _gaps(one.curve.j), color=one.colour, lw=1.2, label=_label(one.name))
            presence.plot(one.curve.at, _gaps(one.curve.presence), color=one.colour, lw=0.9)
        score.plot(
            [x for x, _ in marked], [j for _, j in marked], "o", mfc="none", mec=INK, ms=5, mew=0.9, lw=0
        )
        presence.axhline(0, color=QUIET, lw=0.6, ls=(0, (4, 3)))
        score.set(ylim=(-4, 104), yticks=(0, 50, 100), ylabel="J, %")
        presence.set_ylabel("presence")
        for axes in (score, presence):
            axes.yaxis.set_label_coords(-0.095, 0.5)
        score.grid(axis="y")
        for axes in (score, presence):
            axes.tick_params(bottom=False)
        score.set_title(_label(title), fontweight="bold")
        if bands > 1:
            score.legend(
                loc="lower right",
                bbox_to_anchor=(1, 1),
                ncols=bands,
                frameon=False,
                borderaxespad=0,
                fontsize=7,
            )
        for axes, one in zip(states, series, strict=True):
            _band(axes, one, named=bands > 1)
        states[-1].set_xlabel(x_label)
        return _svg(figure)


def histogram_svg(times_ms: Sequence[float], percentiles: Mapping[str, float], called: str = "") -> bytes:
    """Histogram of the times per frame, with the percentiles as lines. The last bin contains all longer times.

    `called`: name of the run, if there are several histograms.
    """
    with matplotlib.rc_context(_LOOK):
        figure, (axes,) = _figure(1, (_WIDTH_IN, 2.2))
        values = np.asarray(times_ms, dtype=np.float64)
        end = max(float(np.percentile(values, 99.5)) * 1.08, 1e-3)
        axes.hist(
            np.minimum(values, end), bins=min(40, max(8, len(values) // 4)), range=(0, end), color="#8fb6bc"
        )
        # p95 and p99 are often close: their labels are at different heights.
        for (name, value), height in zip(percentiles.items(), (0.97, 0.86, 0.75), strict=False):
            axes.axvline(value, color=INK, lw=0.9)
            right = value > 0.72 * end
            axes.annotate(
                f"{name} {value:.1f} ms",
                (value, height),
                xycoords=("data", "axes fraction"),
                xytext=(-3 if right else 3, 0),
                textcoords="offset points",
                ha="right" if right else "left",
                va="top",
                color=INK,
                bbox={"facecolor": "#fbfaf7", "edgecolor": "none", "pad": 0.8},
            )
        axes.set(
            xlabel=f"{_label(called)}, ms per frame" if called else "ms per frame",
            ylabel="frames",
            xlim=(0, end),
        )
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        return _svg(figure)


def reliability_svg(bins: Mapping[str, Sequence[Mapping[str, float | None]]], counted: str) -> bytes:
    """Reliability diagram: share of frames with the object visible over the predicted probability; diagonal = ideal.

    `bins`: by name, entries with "presence", "visible" and their number under `counted`.
    """
    with matplotlib.rc_context(_LOOK):
        figure, (share, numbers) = _figure(2, (_WIDTH_IN, 3.0), heights=(3, 1))
        share.plot((0, 1), (0, 1), color=QUIET, lw=0.8, ls=(0, (4, 3)))
        width = 0.09 / len(bins)
        for place, (name, entries) in enumerate(bins.items()):
            colour = SERIES_COLOURS[place % len(SERIES_COLOURS)] if len(bins) > 1 else TINT
            filled = [one for one in entries if one[counted] and one["presence"] is not None]
            share.plot(
                _gaps([one["presence"] for one in filled]),
                _gaps([one["visible"] for one in filled]),
                "o-",
                color=colour,
                lw=1.2,
                ms=3.5,
                label=_label(name),
            )
            shift = (place - (len(bins) - 1) / 2) * width
            numbers.bar(
                [((one["from"] or 0) + (one["to"] or 0)) / 2 + shift for one in entries],
                [max(one[counted] or 0, 0) for one in entries],
                width=width,
                color=colour,
                alpha=0.55,
            )
        if len(bins) > 1:
            share.legend(frameon=False, loc="lower right")
        share.set(ylim=(-0.03, 1.03), xlim=(0, 1), ylabel="share visible")
        numbers.set(xlabel="presence as a probability", ylabel="frames", yscale="symlog")
        numbers.set_ylim(bottom=0)
        numbers.yaxis.set_major_formatter(ScalarFormatter())
        share.grid()
        return _svg(figure)


def line_colour(number: int) -> str:
    """The colour of an object in pictures, darkened to be visible as a line on white."""
    red, green, blue = (round(0.68 * channel) for channel in colour_of(number))
    return f"#{red:02x}{green:02x}{blue:02x}"


def hidden_spans(curve: Curve) -> list[tuple[float, float]]:
    """Intervals in which the object is hidden in the ground truth: (first hidden, first visible again)."""
    return [(start, end) for visible, start, end in _stretches(curve, curve.visible) if visible is False]


def write_panels(path: Path, panels: Sequence[Panel], x_label: str, size_in: tuple[float, float]) -> None:
    """Writes one PNG with panels one below the other over the same x. Legends are above the panels, not over lines."""
    figure, all_axes = _figure(len(panels), size_in)
    for axes, panel in zip(all_axes, panels, strict=True):
        for line in panel.lines:
            axes.plot(line.x, _gaps(line.y), label=_label(line.name), **line.style)
        if panel.shaded is not None:
            start, end, name = panel.shaded
            axes.axvspan(start, end, alpha=0.08, label=name)
        axes.set_ylabel(panel.y_label)
        axes.grid(alpha=0.3)
        if panel.from_zero:
            axes.set_ylim(bottom=0)
        if any(line.name for line in panel.lines):
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize="small", ncols=4, frameon=False)
    all_axes[-1].set_xlabel(x_label)
    figure.savefig(path, dpi=110)


def _band(axes: Axes, series: Series, named: bool) -> None:
    curve = series.curve
    for state, start, end in _stretches(curve, curve.state):
        if state is not None:
            axes.axvspan(start, end, 0.1, 0.9, color=STATE_COLOURS.get(state, HIDDEN_COLOUR), lw=0)
    axes.set_yticks([])
    axes.set_ylabel(_label(series.name) if named else "state", rotation=0, ha="right", va="center")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_xlim(curve.at[0], _end(curve, len(curve.at)))


def _stretches(curve: Curve, values: Sequence[T]) -> Iterator[tuple[T, float, float]]:
    """Yields each interval of equal values: the value, from, to."""
    position = 0
    for value, entries in groupby(values):
        start, position = position, position + len(list(entries))
        yield value, curve.at[start], _end(curve, position)


def _end(curve: Curve, position: int) -> float:
    """End of the entry before `position`: the next entry, or one step after the last."""
    if position < len(curve.at):
        return curve.at[position]
    step = (curve.at[-1] - curve.at[0]) / max(len(curve.at) - 1, 1) or 1.0
    return curve.at[-1] + step


def _label(name: str) -> str:
    """A name as a label: matplotlib hides lines whose names begin with an underscore."""
    shown = readable(name)
    return f" {shown}" if shown.startswith("_") else shown


def _gaps(values: Sequence[float | None]) -> list[float]:
    """The values with NaN for None, which makes a gap in a line."""
    return [np.nan if value is None else value for value in values]


def _figure(
    rows: int, size_in: tuple[float, float], heights: Sequence[float] | None = None, measured: bool = True
) -> tuple[Figure, list[Axes]]:
    """Axes one below the other over the same x. `measured`: compute margins that fit every text, which takes time."""
    # Without pyplot: no global state, no display.
    figure = Figure(figsize=size_in, layout="constrained" if measured else None)
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0])


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # No date and fixed ids, so that the same run gives the same file.
    with matplotlib.rc_context({"svg.hashsalt": "report"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser's fonts draw the text
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return buffer.getvalue()
