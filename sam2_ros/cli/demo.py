# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros demo`: tracks a rendered robot-camera clip with the live node, and scores the result.

Does not render or score: reads arguments, shows progress and a table.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from . import output as show
from .options import OUT_HELP, JsonOption, OverwriteOption, opens_model

if TYPE_CHECKING:  # imported only by the command that runs, so that start-up stays fast
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def demo(
    model_options: ModelOptions,
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("out/demo"),
    frames: Annotated[
        int | None, typer.Option(min=2, help="Number of frames, from the clip's start. Default: all 150.")
    ] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Track without ROS, even if ROS 2 is installed.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Render a robot-camera clip, play it to the live ROS 2 node as a rosbag2, and score the published masks.

    Writes to --out: the clip (camera/, truth/, prompts.json), overlay.mp4,
    node/tracked/ (rosbag2), report.html and summary.json. Without rclpy the
    command reports so, tracks the clip directly, and writes direct/tracked/
    instead. nano runs at 256 px here unless --image-size is given.
    """
    from sam2_ros.eval.demo import DemoConfig, run_demo
    from sam2_ros.live.player import fastdds_profile, missing_ros

    reason = "--direct was given" if direct else missing_ros()
    if reason is not None:
        show.err.print(f"No live ROS 2 node: {escape(reason)}. Tracking directly instead.", soft_wrap=True)
    config = DemoConfig(
        out=out,
        model_options=model_options,
        node_command=None if reason else (sys.executable, "-m", "sam2_ros.node.node"),
        direct_because=reason or "",
        profiles_file=None if reason else fastdds_profile(),
        frames=frames,
        overwrite=overwrite,
    )
    with show.progress_bar("starting") as bar:
        summary = run_demo(config, bar.show)
    show.print_table("sam2-ros demo", {key: value for key, value in summary.items() if key != "per_object"})
    for name in ("report.html", "overlay.mp4", f"{'direct' if reason else 'node'}/tracked", "summary.json"):
        show.path(out / name)
    show.print_json(as_json, summary)
