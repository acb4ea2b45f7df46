# SPDX-License-Identifier: Apache-2.0
"""The report of `sam2-ros demo --scene tabletop`: grasps, position errors, and pictures of the trials.

Gets numbers as plain data and a folder of pictures; does not know simulators or nodes. The text is in
`templates/tabletop.html`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from .parts import facts_of
from .render import Headline, Picture, write_page
from .worst_frames import encode_jpeg

TRIALS_SHOWN = 4  # without the failed ones, which are all shown
MOMENTS = {"wait": "at the prompt", "approach": "grasp planned", "end": "at the end"}


def write_tabletop_page(
    path: Path, summary: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], pictures: Path
) -> None:
    """Writes the report. `pictures`: folder with `NN-MOMENT.png` of each trial."""
    failed = [trial for trial in trials if not trial["lifted"]]
    shown = failed + [trial for trial in trials if trial["lifted"]][:TRIALS_SHOWN]
    write_page(
        path,
        "tabletop.html",
        command=summary["command"],
        title=f"{summary['model']} and an arm at a table, {summary['camera']} camera",
        headlines=_headlines(summary),
        summary=summary,
        scenarios=list(summary["by_scenario"].items()),
        pictures=[picture for trial in shown for picture in _pictures(trial, pictures)],
        failed=len(failed),
        made=facts_of(summary, {"seed": "Seed", "camera": "Camera"}),
    )


def _headlines(summary: Mapping[str, Any]) -> list[Headline]:
    found = [Headline(f"{summary['grasped']}/{summary['trials']}", "", "objects lifted")]
    if error := summary["position_error_mm"]:
        found.append(Headline(f"{error['p50']:.1f}", "mm", "position error, p50"))
        found.append(Headline(f"{error['p95']:.1f}", "mm", "position error, p95"))
    if times := summary["prompt_to_grasp_s"]:
        found.append(Headline(f"{times['p50']:.1f}", "s", "prompt to closed gripper, p50, simulated"))
    return found


def _pictures(trial: Mapping[str, Any], folder: Path) -> list[Picture]:
    found = []
    for name, moment in MOMENTS.items():
        image_bgr = cv2.imread(str(folder / f"{trial['trial']:02}-{name}.png"))
        if image_bgr is None:
            continue
        caption = f"{trial['trial'] + 1}. {trial['scenario']}, {trial['thing']}: {moment}"
        if name == "end":
            caption += ", lifted" if trial["lifted"] else ", not lifted"
        found.append(Picture(encode_jpeg(image_bgr[..., ::-1]), "image/jpeg", f"Picture: {caption}", caption))
    return found
