# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros demo`: tracks a rendered robot-camera clip with the live node, and scores the result.

Does not render or score: reads arguments, shows progress and a table.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from sam2_ros.errors import UserError

from . import output as show
from .options import OUT_HELP, JsonOption, NoOpenOption, OverwriteOption, PortOption, opens_model

if TYPE_CHECKING:  # imported only by the command that runs, so that start-up stays fast
    from sam2_ros.eval.demo import DemoConfig
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
    ui: Annotated[
        bool,
        typer.Option(
            "--ui",
            help="Show the node tracking the clip in a page of the browser, until Ctrl-C; nothing is scored.",
        ),
    ] = False,
    port: PortOption = None,
    no_open: NoOpenOption = False,
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
    """
    from sam2_ros.eval.demo import DemoConfig, run_demo
    from sam2_ros.live.player import fastdds_profile, missing_ros

    reason = "--direct was given" if direct else missing_ros()
    if ui and reason is not None:
        raise UserError(f"--ui shows the live node, and {reason}: leave one of them out", status=1)
    if not ui and (port is not None or no_open):
        raise UserError("--port and --no-open are of the page: add --ui, or leave them out")
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
    if ui:
        _show_demo(config, port, no_open)
        return
    with show.progress_bar("starting") as bar:
        summary = run_demo(config, bar.show)
    show.print_table("sam2-ros demo", {key: value for key, value in summary.items() if key != "per_object"})
    for name in ("report.html", "overlay.mp4", f"{'direct' if reason else 'node'}/tracked", "summary.json"):
        show.path(out / name)
    show.print_json(as_json, summary)


def _show_demo(config: DemoConfig, port: int | None, no_open: bool) -> None:
    """Serve the live view of the demo until Ctrl-C. Raises UserError if the node ends before."""
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
