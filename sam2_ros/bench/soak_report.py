# SPDX-License-Identifier: Apache-2.0
"""Judges an endurance test of the node from its readings, one per second, and plots them.

Readings in; numbers, failures and a plot out. Does not know ROS or how the test ran.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MEMORY_GROWTH_LIMIT = 1.02  # resident memory of the last minute / of the second
RATE_DROP_LIMIT = 0.95  # images processed in the last minute / in the second
JUDGED_FROM_S = 180.0  # from this length on, the second minute and the last one do not overlap


@dataclass(frozen=True)
class Reading:
    """The state of the node at one second. `t_s`: seconds since the first image; counts are since then."""

    t_s: float
    resident_mb: float
    anonymous_mb: float
    shared_mb: float
    cpu_s: float
    sent: int
    processed: int
    latency_ms_p50: float | None  # of the results of this second; None if there was none
    latency_ms_p95: float | None
    objects_tracking: int | None  # in the newest message
    mean_iou: float | None  # with the true masks, over the messages of this second
    node: Mapping[str, str] = field(default_factory=dict)  # newest diagnostics of the node


@dataclass(frozen=True)
class StampCheck:
    """Number of wrong stamps on outputs: each stamp must belong to an image, occur once, and increase."""

    duplicates: int
    foreign: int
    out_of_order: int


def check_stamps(sent_ns: Sequence[int], answered_ns: Sequence[int]) -> StampCheck:
    """Checks the stamps of the outputs. `answered_ns`: the stamps in the order of arrival."""
    known = set(sent_ns)
    return StampCheck(
        duplicates=len(answered_ns) - len(set(answered_ns)),
        foreign=sum(stamp not in known for stamp in answered_ns),
        out_of_order=sum(b < a for a, b in itertools.pairwise(answered_ns)),
    )


def compare_minutes(readings: Sequence[Reading]) -> dict[str, Any]:
    """Compares the second minute with the last: `{"judged", "memory_mb", "anonymous_mb", "rate_hz"}`.

    Memory is the median over the minute's readings. Each entry but `judged` is `{"minute_2", "last_minute",
    "ratio"}`; empty if the run is shorter than three minutes.
    """
    end_s = readings[-1].t_s if readings else 0.0
    if end_s < JUDGED_FROM_S - 1.5:  # the last reading is a little before the end
        return {"judged": False, "memory_mb": {}, "anonymous_mb": {}, "rate_hz": {}}
    second = [reading for reading in readings if 60 <= reading.t_s < 120]
    last = [reading for reading in readings if reading.t_s >= end_s - 60]
    return {
        "judged": True,
        "memory_mb": _pair(*(_median(part, "resident_mb") for part in (second, last))),
        "anonymous_mb": _pair(*(_median(part, "anonymous_mb") for part in (second, last))),
        "rate_hz": _pair(*(_rate_hz(part) for part in (second, last))),
    }


def failures(
    compared: Mapping[str, Any], stamps: Mapping[str, StampCheck], processed: int, even_work: bool = True
) -> list[str]:
    """The failures of the test with their numbers, one line each; empty if it passed.

    `even_work`: the number of objects is constant; if False, the rate is not judged.
    """
    lines = []
    if processed == 0:
        lines.append("no image was processed; see node.log")
    if compared["judged"]:
        memory, rate = compared["memory_mb"], compared["rate_hz"]
        if memory["ratio"] > MEMORY_GROWTH_LIMIT:
            lines.append(
                f"resident memory grew from {memory['minute_2']} MB in the second minute to "
                f"{memory['last_minute']} MB in the last, at most {100 * (MEMORY_GROWTH_LIMIT - 1):.0f} % expected"
            )
        if even_work and rate["ratio"] < RATE_DROP_LIMIT:
            lines.append(
                f"the rate fell from {rate['minute_2']} Hz in the second minute to {rate['last_minute']} Hz in "
                f"the last, at most {100 * (1 - RATE_DROP_LIMIT):.0f} % expected"
            )
    for topic, check in stamps.items():
        if check.duplicates:
            lines.append(f"{check.duplicates} messages on {topic} repeat the stamp of an earlier one")
        if check.foreign:
            lines.append(f"{check.foreign} messages on {topic} have the stamp of no image")
        if check.out_of_order:
            lines.append(f"{check.out_of_order} messages on {topic} are older than the previous one")
    return lines


def draw_readings(path: Path, readings: Sequence[Reading], rate_hz: float) -> None:
    """Plots memory, latency, rate and quality over time as a PNG, one panel below the other."""
    from sam2_ros.eval.report.plots import Line, Panel, write_panels

    minutes = [reading.t_s / 60 for reading in readings]

    def line(name: str, label: str, **style: object) -> Line:
        return Line(label, minutes, [getattr(reading, name) for reading in readings], style)

    # Rates over ten seconds: over one second, a difference of one image would hide a trend.
    span = min(10, len(readings) // 3)
    rates_hz = [
        (later.processed - earlier.processed) / (later.t_s - earlier.t_s)
        for earlier, later in zip(readings, readings[span:], strict=False)
        if span
    ]
    panels = [
        Panel(
            "node's memory, MB",
            [
                line("resident_mb", "resident"),
                line("anonymous_mb", "of it anonymous"),
                line("shared_mb", "of it shared"),
            ],
        ),
        Panel(
            "image sent to objects\nreceived, ms",
            [line("latency_ms_p95", "p95", linewidth=0.9), line("latency_ms_p50", "p50", linewidth=0.9)],
        ),
        Panel(
            "Hz",
            [
                Line("images processed per second", minutes[span:] if span else [], rates_hz),
                Line("camera", minutes, [rate_hz] * len(minutes), {"color": "grey", "linestyle": ":"}),
            ],
        ),
        Panel(
            "",
            [
                line("objects_tracking", "objects TRACKING", drawstyle="steps-post"),
                line("mean_iou", "mean IoU"),
            ],
        ),
    ]
    write_panels(path, panels, "minutes since the first image", (9, 9))


def _median(readings: Sequence[Reading], name: str) -> float:
    return float(np.median([getattr(reading, name) for reading in readings]))


def _rate_hz(readings: Sequence[Reading]) -> float:
    return (readings[-1].processed - readings[0].processed) / (readings[-1].t_s - readings[0].t_s)


def _pair(minute_2: float, last_minute: float) -> dict[str, float]:
    return {
        "minute_2": round(minute_2, 2),
        "last_minute": round(last_minute, 2),
        "ratio": round(last_minute / minute_2, 4) if minute_2 else 0.0,
    }
