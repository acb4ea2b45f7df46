"""Writes a report that is one HTML file with tables, plots and pictures of a scored run inside.

Does not know how the run was made: it gets frames, results, truths and a score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam2_ros.engine import FrameResult
from sam2_ros.media.overlay import draw_overlay

from .metrics import spread
from .report import page, plots
from .report import worst_frames as strips
from .report.page import Cell, Headline, Row, Section
from .scoring import ClipScore, ObjectTruth, hidden_stretches


@dataclass(frozen=True)
class Picture:
    """One frame to show, and why."""

    frame: int
    caption: str


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows. `frames_thwc` is [T, H, W, 3] uint8 RGB, one per frame of the clip."""

    title: str
    summary: Mapping[str, object]
    notes: Sequence[str]
    fps: float
    frames_thwc: np.ndarray
    results: Sequence[FrameResult]
    truths: Sequence[ObjectTruth]
    score: ClipScore
    latency_ms_by_frame: Mapping[int, float]
    latency_meaning: str


def write_report(path: Path, data: ReportData) -> None:
    """Write the report; plots as PNG and pictures as JPEG inside the file."""
    overlap = "IoU per processed frame; grey: the object cannot be seen"
    latency = "every processed frame; left in order, right sorted into bins"
    plot = overlap_plot(data)
    pictures = [
        page.image("image/jpeg", _picture(data, picture), f"Picture: {picture.caption}", picture.caption)
        for picture in choose_pictures(data)
    ]
    sections = [
        Section("objects", "Objects", _object_table(data)),
        Section(
            "overlap",
            "Overlap with the known masks",
            page.image("image/png", plot, overlap, overlap),
        ),
        Section(
            "latency",
            "Latency",
            page.paragraph(data.latency_meaning)
            + page.image("image/png", latency_plot(data), latency, latency),
        ),
        Section(
            "frames",
            "Frames",
            page.paragraph("Tinted: what was tracked. White outline: the known mask.", "note")
            + page.grid("frames", pictures),
        ),
        Section(
            "made", "How it was made", page.facts({key: _plain(value) for key, value in data.summary.items()})
        ),
    ]
    lead = "".join(page.paragraph(note) for note in data.notes)
    page.write_page(path, "sam2-ros demo", data.title, lead, _headlines(data), sections)


def _headlines(data: ReportData) -> list[Headline]:
    score, times = data.score, spread(data.latency_ms_by_frame.values())
    found = []
    for share, what in (
        (score.mean_iou, "mean IoU"),
        (score.missed, "visible, but missed"),
        (score.false_presence, "hidden, but called visible"),
    ):
        if share is not None:
            found.append(Headline(f"{100 * share:.1f}", "%", what))
    found.append(Headline(f"{len(data.results)} / {len(data.frames_thwc)}", "", "frames processed"))
    if times.count:
        found.append(Headline(f"{times.p50:.0f}", "ms", "latency, p50"))
        found.append(Headline(f"{times.p95:.0f}", "ms", "latency, p95"))
    return found


def choose_pictures(data: ReportData) -> list[Picture]:
    """Frames worth looking at: first, last, around every hidden stretch, and the worst overlaps."""
    processed = [result.frame_index for result in data.results]
    if not processed:
        return []
    wanted: dict[int, list[str]] = {}

    def want(frame: int, caption: str) -> None:
        nearest = min(processed, key=lambda candidate: abs(candidate - frame))
        wanted.setdefault(nearest, []).append(caption)

    want(processed[0], "first processed frame")
    for truth in data.truths:
        for start, end in hidden_stretches(truth):
            want(start - 3, f"'{truth.id}' is about to be hidden")
            want((start + end) // 2, f"'{truth.id}' is hidden")
            if end < len(truth.visible_t):
                want(end + 5, f"'{truth.id}' is back")
    for scored in data.score.per_object:
        if scored.iou_by_frame:
            worst = min(scored.iou_by_frame, key=lambda frame: scored.iou_by_frame[frame])
            want(worst, f"lowest overlap of '{scored.id}': {scored.iou_by_frame[worst]:.2f}")
    want(processed[-1], "last processed frame")
    return [
        Picture(frame, f"frame {frame} ({frame / data.fps:.1f} s): {'; '.join(captions)}")
        for frame, captions in sorted(wanted.items())
    ]


def overlap_plot(data: ReportData) -> bytes:
    """PNG: IoU over time per object, with the stretches in which it is hidden."""
    figure, axes = plots.plain_axes(rows=max(len(data.truths), 1), columns=1, height_in=1.9)
    for axis, truth, scored in zip(axes, data.truths, data.score.per_object, strict=False):
        colour = plots.line_colour(_label_of(data.results, truth.id))
        for start, end in hidden_stretches(truth):
            axis.axvspan(start / data.fps, end / data.fps, color="#d9dde6", lw=0)
        # Frames in which it is hidden have no IoU: the line breaks there.
        seconds = [frame / data.fps for frame in scored.called_visible_by_frame]
        overlap = [scored.iou_by_frame.get(frame, np.nan) for frame in scored.called_visible_by_frame]
        axis.plot(seconds, overlap, ".-", color=colour, ms=4, lw=1)
        false_s = [
            frame / data.fps
            for frame, called in scored.called_visible_by_frame.items()
            if called and not truth.visible_t[frame]
        ]
        axis.plot(false_s, [0.0] * len(false_s), "x", color="#b3261e", ms=5)
        axis.set(ylim=(-0.05, 1.05), xlim=(0, len(truth.visible_t) / data.fps), ylabel="IoU", title=truth.id)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("s   (red x: called visible although hidden)")
    return plots.png(figure)


def latency_plot(data: ReportData) -> bytes:
    """PNG: latency per processed frame, and its histogram."""
    figure, axes = plots.plain_axes(rows=1, columns=2, height_in=2.6)
    latencies = list(data.latency_ms_by_frame.values())
    seconds = [frame / data.fps for frame in data.latency_ms_by_frame]
    axes[0].plot(seconds, latencies, ".", color="#2b5fb4", ms=4)
    axes[0].axhline(1e3 / data.fps, color="#8a93a6", lw=1, ls="--")
    axes[0].annotate(
        "one frame period", (0, 1e3 / data.fps), xytext=(2, 2), textcoords="offset points", fontsize=8
    )
    axes[0].set(xlabel="s", ylabel="ms", ylim=(0, max([*latencies, 1e3 / data.fps]) * 1.15))
    axes[1].hist(latencies, bins=30, color="#2b5fb4")
    axes[1].set(xlabel="ms", ylabel="frames")
    for axis in axes:
        axis.grid(alpha=0.3)
    return plots.png(figure)


def _picture(data: ReportData, picture: Picture) -> bytes:
    result = next(found for found in data.results if found.frame_index == picture.frame)
    image = np.ascontiguousarray(draw_overlay(data.frames_thwc[picture.frame], result))
    for truth in data.truths:
        strips.outline_truth(image, truth.masks_thw[picture.frame])
    return strips.jpeg(image)


def _object_table(data: ReportData) -> str:
    rows = []
    for scored in data.score.per_object:
        back = ", ".join(
            "not found again" if frames is None else f"{frames / data.fps:.1f} s"
            for frames in scored.reacquired_frames
        )
        numbers = (scored.mean_iou, scored.missed, scored.false_presence)
        iou, missed, false = (None if share is None else 100 * share for share in numbers)
        rows.append(
            Row(
                [
                    Cell(scored.id),
                    page.number(iou, bar=True),
                    page.number(scored.frames_visible, 0),
                    page.number(missed),
                    page.number(scored.frames_hidden, 0),
                    page.number(false),
                    Cell(back or "was never hidden"),
                ]
            )
        )
    header = [
        Cell("object"),
        page.heading("mean IoU, %", bar=True),
        *(
            page.heading(text)
            for text in ("frames visible", "missed, %", "frames hidden", "false presence, %")
        ),
        Cell("found again"),
    ]
    return page.table(header, rows, "Scores of every object")


def _plain(value: object) -> str:
    if value is None:
        return "nothing to count"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
    return str(value)


def _label_of(results: Sequence[FrameResult], object_id: str) -> int:
    return next((found.label for result in results for found in result.objects if found.id == object_id), 0)
