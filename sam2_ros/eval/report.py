"""Writes a report that is one HTML file with tables, plots and pictures of a scored run inside.

Does not know how the run was made: it gets frames, results, truths and a score.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sam2_ros.engine import FrameResult
from sam2_ros.eval.scoring import ClipScore, ObjectTruth, hidden_stretches
from sam2_ros.media.overlay import colour_of, draw_overlay

TRUTH_RGB = (255, 255, 255)

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2330; max-width: 68rem; margin: 2rem auto; }
body { padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .25rem 1.2rem .25rem 0; }
th { border-bottom: 1px solid #9aa3b5; font-weight: 600; } td { border-bottom: 1px solid #e6e9f0; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; } img { max-width: 100%; border-radius: 4px; }
figcaption, .note { color: #5b6477; font-size: .88rem; }
"""


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
    sections = [
        f"<h1>{html.escape(data.title)}</h1>",
        *(f'<p class="note">{html.escape(note)}</p>' for note in data.notes),
        "<h2>Summary</h2>",
        _table(("what", "value"), [(key, _plain(value)) for key, value in data.summary.items()]),
        "<h2>Objects</h2>",
        _object_table(data),
        "<h2>Overlap with the known masks</h2>",
        _image("image/png", overlap_plot(data), "IoU per processed frame; grey: the object cannot be seen"),
        f"<h2>Latency</h2><p>{html.escape(data.latency_meaning)}</p>",
        _image(
            "image/png", latency_plot(data), "every processed frame; left in order, right sorted into bins"
        ),
        "<h2>Frames</h2>",
        '<p class="note">Tinted: what was tracked. White outline: the known mask.</p>',
        '<div class="frames">',
        *(
            _image("image/jpeg", _picture(data, picture), picture.caption)
            for picture in choose_pictures(data)
        ),
        "</div>",
    ]
    path.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(data.title)}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(sections)
        + "\n</body></html>\n",
        encoding="utf-8",
    )


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
    figure, axes = _axes(rows=max(len(data.truths), 1), columns=1, height_in=1.9)
    for axis, truth, scored in zip(axes, data.truths, data.score.per_object, strict=False):
        colour = _colour(_label_of(data.results, truth.id))
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
    return _png(figure)


def latency_plot(data: ReportData) -> bytes:
    """PNG: latency per processed frame, and its histogram."""
    figure, axes = _axes(rows=1, columns=2, height_in=2.6)
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
    return _png(figure)


def _picture(data: ReportData, picture: Picture) -> bytes:
    result = next(found for found in data.results if found.frame_index == picture.frame)
    image = np.ascontiguousarray(draw_overlay(data.frames_thwc[picture.frame], result))
    for truth in data.truths:
        outlines, _ = cv2.findContours(
            truth.masks_thw[picture.frame].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(image, outlines, -1, TRUTH_RGB, 1)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return encoded.tobytes()


def _object_table(data: ReportData) -> str:
    rows = []
    for scored in data.score.per_object:
        back = ", ".join(
            "not found again" if frames is None else f"{frames / data.fps:.1f} s"
            for frames in scored.reacquired_frames
        )
        rows.append(
            (
                scored.id,
                _plain(scored.mean_iou),
                str(scored.frames_visible),
                _plain(scored.missed),
                str(scored.frames_hidden),
                _plain(scored.false_presence),
                back or "was never hidden",
            )
        )
    header = (
        "object",
        "mean IoU",
        "frames visible",
        "missed",
        "frames hidden",
        "false presence",
        "found again",
    )
    return _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _plain(value: object) -> str:
    if value is None:
        return "nothing to count"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
    return str(value)


def _image(media_type: str, content: bytes, caption: str) -> str:
    encoded = base64.b64encode(content).decode("ascii")
    return (
        f'<figure><img alt="{html.escape(caption, quote=True)}" src="data:{media_type};base64,{encoded}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _label_of(results: Sequence[FrameResult], object_id: str) -> int:
    return next((found.label for result in results for found in result.objects if found.id == object_id), 0)


def _colour(label: int) -> tuple[float, float, float]:
    # Darker than on the pictures: a bright line on white paper is hard to see.
    red, green, blue = (0.75 * channel / 255 for channel in colour_of(label))
    return red, green, blue


def _axes(rows: int, columns: int, height_in: float) -> tuple[Figure, list[Axes]]:
    # The object-oriented interface: no pyplot, hence no global state and no display.
    figure = Figure(figsize=(9.5, height_in * rows + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
