# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros demo`: runs the live node on a rendered clip, or with a simulated arm at a table, and scores the result.

Does not render, simulate or score: reads arguments, shows progress and a table.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from sam2_ros.errors import UserError

from . import output as show
from .options import (
    OUT_HELP,
    JsonOption,
    NoOpenOption,
    OverwriteOption,
    PoliciesOption,
    PortOption,
    opens_model,
    policies_given,
)

if TYPE_CHECKING:  # imported only by the command that runs, so that start-up stays fast
    from sam2_ros.eval.demo import DemoConfig
    from sam2_ros.weights.open_model import ModelOptions

CLIP, TABLETOP = "clip", "tabletop"  # values of --scene
NODE_COMMAND = (sys.executable, "-m", "sam2_ros.node.node")


@opens_model
def demo(
    model_options: ModelOptions,
    scene: Annotated[
        str,
        typer.Option(
            help="clip: a rendered robot's camera. tabletop: a simulated arm grasps what is tracked (needs pybullet)."
        ),
    ] = CLIP,
    out: Annotated[Path | None, typer.Option(help=f"{OUT_HELP} Default: out/demo, or out/tabletop.")] = None,
    frames: Annotated[
        int | None, typer.Option(min=2, help="clip: number of frames, from its start. Default: all 150.")
    ] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="clip: track without ROS, even if ROS 2 is installed.")
    ] = False,
    trials: Annotated[int, typer.Option(min=1, help="tabletop: number of objects to grasp.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="tabletop: the same seed gives the same tables.")] = 0,
    moving_camera: Annotated[
        bool, typer.Option("--moving-camera", help="tabletop: the camera swings around the table.")
    ] = False,
    ui: Annotated[
        bool,
        typer.Option(
            "--ui",
            help="Show the node tracking the clip in a page of the browser, until Ctrl-C; nothing is scored.",
        ),
    ] = False,
    port: PortOption = None,
    no_open: NoOpenOption = False,
    policies: PoliciesOption = "default",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Render a robot-camera clip, play it to the live ROS 2 node as a rosbag2, and score the published masks.

    Writes to --out: the clip (camera/, truth/, prompts.json), overlay.mp4,
    node/tracked/ (rosbag2), report.html and summary.json. Without rclpy the
    command reports so, tracks the clip directly, and writes direct/tracked/
    instead. nano runs at 256 px here unless --image-size is given. With --ui
    the clip is played back and forth, and a click prompts the node; --out is
    not written.

    With --scene tabletop a simulated arm asks the node for objects and grasps
    them, and the simulator scores positions and grasps. Writes overlay.mp4,
    pictures/, trials.jsonl, report.html and summary.json.
    """
    if scene not in (CLIP, TABLETOP):
        raise UserError(f"--scene '{scene}' given, expected {CLIP} or {TABLETOP}")
    if not ui and (port is not None or no_open):
        raise UserError("--port and --no-open are of the page: add --ui, or leave them out")
    if scene == TABLETOP:
        if frames is not None or direct or ui or policies != "default":
            raise UserError("--frames, --direct, --policies and --ui belong to --scene clip: leave them out")
        summary = _tabletop(
            model_options, out or Path("out/tabletop"), trials, seed, moving_camera, overwrite
        )
    else:
        chosen = policies_given(policies)
        config = _clip_config(model_options, out or Path("out/demo"), frames, direct, overwrite, chosen)
        if ui:
            _show_demo(config, port, no_open)
            return
        summary = _clip(config)
    show.print_json(as_json, summary)


def _clip_config(
    model_options: ModelOptions,
    out: Path,
    frames: int | None,
    direct: bool,
    overwrite: bool,
    policies: tuple[str, ...],
) -> DemoConfig:
    from sam2_ros.eval.demo import DemoConfig
    from sam2_ros.live.player import fastdds_profile, missing_ros

    reason = "--direct was given" if direct else missing_ros()
    return DemoConfig(
        out=out,
        model_options=model_options,
        node_command=None if reason else NODE_COMMAND,
        direct_because=reason or "",
        profiles_file=None if reason else fastdds_profile(),
        frames=frames,
        overwrite=overwrite,
        policies=policies,
    )


def _clip(config: DemoConfig) -> dict[str, Any]:
    from sam2_ros.eval.demo import run_demo

    reason = config.direct_because
    if reason:
        show.err.print(f"No live ROS 2 node: {escape(reason)}. Tracking directly instead.", soft_wrap=True)
    with show.progress_bar("starting") as bar:
        summary = run_demo(config, bar.show)
    show.print_table("sam2-ros demo", {key: value for key, value in summary.items() if key != "per_object"})
    for name in ("report.html", "overlay.mp4", f"{'direct' if reason else 'node'}/tracked", "summary.json"):
        show.path(config.out / name)
    return summary


def _show_demo(config: DemoConfig, port: int | None, no_open: bool) -> None:
    """Serve the live view of the demo until Ctrl-C. Raises UserError if the node ends before."""
    if config.direct_because:
        raise UserError(
            f"--ui shows the live node, and {config.direct_because}: leave one of them out", status=1
        )
    from .ui import check_packages, own_project, show_address

    check_packages()
    from sam2_ros.eval.live_demo import live_demo
    from sam2_ros.live.player import NODE_NAME
    from sam2_ros.ui.live.config import LiveConfig
    from sam2_ros.ui.server.config import ServerConfig
    from sam2_ros.ui.server.run import serve
    from sam2_ros.ui.session import WorkspaceConfig

    ended: list[UserError] = []

    def on_end(error: UserError) -> None:
        ended.append(error)
        os.kill(os.getpid(), signal.SIGINT)  # ends the server in order

    server = ServerConfig(WorkspaceConfig(own_project()), port=port, live=LiveConfig(f"/{NODE_NAME}"))
    try:
        with tempfile.TemporaryDirectory() as folder:
            with live_demo(config, Path(folder, "node.log"), on_end) as camera:
                show.note(
                    f"The node is /{NODE_NAME} in ROS_DOMAIN_ID={camera.domain_id}. Its model is loaded while the page "
                    "opens. Ctrl-C ends both."
                )
                serve(server, lambda addresses: show_address(addresses, no_open))
            if ended:
                raise ended[0]
    except KeyboardInterrupt:
        if ended:
            raise ended[0] from None
        show.note("ended")


def _tabletop(
    model_options: ModelOptions, out: Path, trials: int, seed: int, moving_camera: bool, overwrite: bool
) -> dict[str, Any]:
    from sam2_ros.eval.tabletop import TabletopConfig, run_tabletop
    from sam2_ros.live.player import fastdds_profile

    config = TabletopConfig(
        out, NODE_COMMAND, model_options, fastdds_profile(), trials, seed, moving_camera, overwrite
    )
    with show.progress_bar("starting") as bar:
        summary = run_tabletop(config, bar.show)
    hidden = ("by_scenario", "per_trial", "failures", "versions", "created", "command")
    show.print_table(
        "sam2-ros demo --scene tabletop", {key: value for key, value in summary.items() if key not in hidden}
    )
    for failure in summary["failures"]:
        show.note(
            f"trial {failure['trial'] + 1} failed: {failure['scenario']}, {failure['thing']}: {failure['ended']}"
        )
    for name in ("report.html", "overlay.mp4", "summary.json"):
        show.path(out / name)
    return summary
