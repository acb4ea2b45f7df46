# SPDX-License-Identifier: Apache-2.0
"""Parts that the reports of `eval` and `replay` share: pictures of frames, calibration, settings of the run.

Knows plots and pictures; does not know the layout of the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import plots
from .data import ReportedObject
from .render import Picture, svg
from .worst_frames import FrameMasks, draw_frame, encode_jpeg

_FACTS = {
    "command": "Command",
    "created": "Date",
    "versions": "Versions",
    "device": "Device",
    "model": "Model",
    "precision": "Precision",
    "image_size": "Input, px",
}


def frame_picture(
    whose: str, when: str, one: ReportedObject, j: float | None, frame: FrameMasks | None
) -> Picture:
    """A picture of one object in one frame, with its J in percent as caption; empty if the frame cannot be read."""
    caption = f"{whose}, {when}" + ("" if j is None else f": J\u00a0{j:.1f}\u00a0%")
    if frame is None:
        return Picture(b"", "", "", caption)
    answer = frame.answers.get(one.id)
    if answer is None or not answer.any():
        caption += ", no answer"
    return Picture(
        encode_jpeg(draw_frame(frame, one.id, one.number)), "image/jpeg", f"Picture: {caption}", caption
    )


def calibration_section(
    by_run: Mapping[str, Mapping[str, Any] | None], counted: str
) -> dict[str, Any] | None:
    """Plot and table of the calibration of the presence score, by run; None if nothing was counted.

    `counted`: the key of the number of frames.
    """
    known = {name: one for name, one in by_run.items() if one is not None and one.get("ece") is not None}
    if not known:
        return None
    plot = plots.reliability_svg({name: one["bins"] for name, one in known.items()}, counted)
    rows = [(name, one["ece"], one.get(counted)) for name, one in known.items()]
    return {"figure": svg(plot, "Reliability of the presence score"), "rows": rows}


def facts_of(summary: Mapping[str, Any], more: dict[str, str]) -> dict[str, str]:
    """Settings and versions of a run, heading -> text. `more`: further keys -> their headings."""
    return {
        heading: _words(key, summary[key])
        for key, heading in (_FACTS | more).items()
        if summary.get(key) not in (None, "", {}, [])
    }


def _words(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {entry}" for name, entry in value.items() if entry is not None)
    if isinstance(value, list):
        return " ".join(str(entry) for entry in value)
    return str(value).replace("T", " ") if key == "created" else str(value)
