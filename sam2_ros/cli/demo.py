# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros demo`: a rendered robot-camera clip through the live node, scored.

Does not render or score: it reads arguments, shows progress and a table.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from . import output as show
from .options import OUT_HELP, JsonOption, OverwriteOption, opens_model

if TYPE_CHECKING:  # the command line starts without loading what it does not run
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def demo(
    model_options: ModelOptions,
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("out/demo"),
    frames: Annotated[
        int | None, typer.Option(min=2, help="Only the first frames of the clip (default: all 150).")
    ] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Without ROS, even where it is installed.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Render a robot-camera clip, play it to the live ROS 2 node as a rosbag2, score what comes back.

    Leaves the clip (camera/, truth/, prompts.json), overlay.mp4, node/tracked/ (rosbag2), report.html, summary.json.
    Where rclpy cannot be imported the clip goes through the tracker directly, and that is said. nano sees 256 px here,
    unless --image-size says otherwise.
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
