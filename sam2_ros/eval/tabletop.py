# SPDX-License-Identifier: Apache-2.0
"""The tabletop demo: a simulated arm grasps what the live node tracks, over seeded trials, scored by the simulator.

Reads what the simulator measured; does not simulate, and does not know how an object is grasped.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2_ros.atomic_write import write_json
from sam2_ros.errors import UserError
from sam2_ros.live.tabletop import TabletopPlay, missing_for_tabletop, play_tabletop
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.weights.open_model import ModelOptions

from .demo import smaller_nano
from .fingerprint import made_with
from .metrics import mean, rounded, spread
from .report.tabletop_page import write_tabletop_page

RESULT_NAMES = ("trials.jsonl", "overlay.mp4", "pictures/", "summary.json", "report.html")
BEFORE_GRASP = ("wait", "approach", "descend")
"""Phases of the client in which the gripper does not hold the object: those of the position error."""
MAX_OBJECTS = 4


@dataclass(frozen=True)
class TabletopConfig:
    """Settings of the tabletop demo; `seed` selects the tables of all trials."""

    out: Path
    node_command: tuple[str, ...]
    model_options: ModelOptions = field(default_factory=ModelOptions)  # image size 0: see `smaller_nano`
    profiles_file: Path | None = None
    trials: int = 20
    seed: int = 0
    moving_camera: bool = False
    overwrite: bool = False  # see `ResultFolder`


def run_tabletop(
    config: TabletopConfig, on_progress: Callable[[str, int, int], None] = lambda step, done, total: None
) -> dict[str, Any]:
    """Plays the trials and writes overlay.mp4, pictures/, trials.jsonl, report.html and summary.json; returns the last.

    Raises UserError if something that the scene needs is missing, or a process ends early.
    """
    if (reason := missing_for_tabletop()) is not None:
        raise UserError(f"the tabletop scene cannot be played: {reason}", status=1)
    opened = smaller_nano(config.model_options)
    opened.resolved()  # reports a wrong model name at once, before a node fails to configure
    play = TabletopPlay(
        node_command=config.node_command,
        parameters={**dataclasses.asdict(opened), "max_objects": MAX_OBJECTS},
        profiles_file=config.profiles_file,
        trials=config.trials,
        seed=config.seed,
        moving_camera=config.moving_camera,
        start_timeout_s=opened.patience_s,
    )
    with ResultFolder(
        config.out, "demo --scene tabletop", RESULT_NAMES, overwrite=config.overwrite
    ) as folder:
        on_progress("starting the node", 0, config.trials)
        work = folder.scratch("tabletop")
        play_tabletop(play, work, folder.live, lambda done: on_progress("trials", done, config.trials))
        for made in sorted(work.rglob("*")):
            if made.is_file():
                shutil.copy2(made, folder.stage(made.relative_to(work).as_posix()))
        trials = [json.loads(line) for line in (work / "trials.jsonl").read_text().splitlines()]
        summary = {**tabletop_numbers(config, opened, trials), **made_with()}
        write_tabletop_page(folder.stage("report.html"), summary, trials, work / "pictures")
        write_json(folder.stage("summary.json"), summary)
    return summary


def tabletop_numbers(
    config: TabletopConfig, opened: ModelOptions, trials: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The numbers of all trials, of each scenario, and one line for each trial."""
    scenarios = dict.fromkeys(trial["scenario"] for trial in trials)
    return {
        "command": "sam2-ros demo --scene tabletop",
        "seed": config.seed,
        "camera": "moving" if config.moving_camera else "static",
        "model": opened.model,
        "image_size": opened.image_size,
        **_measures(trials),
        "by_scenario": {
            name: _measures([trial for trial in trials if trial["scenario"] == name]) for name in scenarios
        },
        "failures": [
            {key: trial[key] for key in ("trial", "seed", "scenario", "thing", "ended")}
            for trial in trials
            if not trial["lifted"]
        ],
        "per_trial": [
            {**{key: value for key, value in trial.items() if key != "images"}, **_measures([trial])}
            for trial in trials
        ],
    }


def _measures(trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    images = [image for trial in trials for image in trial["images"] if image["phase"] in BEFORE_GRASP]
    visible = [image for image in images if image["visible"]]
    located = [image for image in visible if image["error_mm"] is not None]
    return {
        "trials": len(trials),
        "grasped": sum(bool(trial["lifted"]) for trial in trials),
        "position_error_mm": _percentiles(image["error_mm"] for image in located),
        "distance_to_centre_mm": _percentiles(image["centre_mm"] for image in located),
        "position_stddev_mm": _percentiles(image["stddev_mm"] for image in located),
        "visible_images": len(visible),
        "without_position": len(visible) - len(located),
        "mean_iou": rounded(mean(image["iou"] for image in visible)),
        "prompt_to_grasp_s": _percentiles(
            trial["prompt_to_grasp_s"] for trial in trials if trial["prompt_to_grasp_s"] is not None
        ),
        "wall_s": rounded(sum(trial["wall_s"] for trial in trials), 1),
        "unanswered_images": sum(trial["unanswered"] for trial in trials),
    }


def _percentiles(values: Iterable[float]) -> dict[str, float] | None:
    """p50, p95 and p99, None without values; NaN (an unknown standard deviation) is left out."""
    return spread(value for value in values if not math.isnan(value)).as_dict() or None
