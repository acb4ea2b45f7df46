# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros ui`: opens a page in the browser on which objects are clicked, tracked, corrected and exported.

Does not serve: reads arguments, prints the address and opens the browser.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam2_ros.errors import UserError
from sam2_ros.text import readable

from . import output as show
from .options import NoOpenOption, PortOption, opens_model

if TYPE_CHECKING:  # imported only by the command that runs, so that start-up stays fast
    from sam2_ros.ui.frames import SourceSpec
    from sam2_ros.ui.server.run import Addresses
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def ui(
    model_options: ModelOptions,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Videos, folders of frames or rosbag2s, added to those of the project."),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps everything: frames, objects, masks, history, exports. "
            "Default: ~/.local/state/sam2_ros/ui (or below $XDG_STATE_HOME)."
        ),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Image topic. Required if a bag has several image topics.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Another than this machine's own needs --token.")
    ] = "127.0.0.1",
    port: PortOption = None,
    no_open: NoOpenOption = False,
    token: Annotated[
        str | None,
        typer.Option(help="Secret of the address, 16 or more characters. Default: a new random one."),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Show the camera of a running ROS 2 node, with its masks; clicks prompt the node."
        ),
    ] = False,
    node: Annotated[
        str, typer.Option(help="Fully qualified name of that node, such as /robot1/sam2.")
    ] = "/sam2",
) -> None:
    """Open a page in the browser: click on objects, track them, correct, export. Ends with Ctrl-C.

    Prints one line, the address with its token: whoever has it can use the
    page. Everything is saved after every action; an ended or killed server
    loses nothing. With --live the page shows a running node instead; only
    --project (for recorded prompts), --host, --port, --token, --no-open and
    --node apply then.
    """
    check_packages()
    if live:
        _check_live(sources or [], topic, model_options)
    from sam2_ros.ui.live.config import LiveConfig
    from sam2_ros.ui.server.config import ServerConfig, check_host, new_token
    from sam2_ros.ui.server.run import serve
    from sam2_ros.ui.session import WorkspaceConfig

    check_host(host, token)
    if not live and node != "/sam2":
        raise UserError(f"--node {readable(node)} given without --live: add it, or leave --node out")
    workspace = WorkspaceConfig(
        project or own_project(), _specs(sources or [], topic), model_options, by=os.environ.get("USER", "")
    )
    config = ServerConfig(
        workspace,
        host,
        port,
        new_token() if token is None else token,
        live=LiveConfig(node) if live else None,
    )
    try:
        serve(config, lambda addresses: show_address(addresses, no_open))
    except KeyboardInterrupt:
        show.note("ended" if live else "ended; everything is saved")


def _check_live(sources: list[Path], topic: str | None, model_options: ModelOptions) -> None:
    """Raises UserError for what does not go together with --live, and without ROS."""
    from sam2_ros.live.player import missing_ros

    if sources:
        raise UserError(
            f"--live shows a running node, and {readable(str(sources[0]))} is a source: give one or the other"
        )
    if topic is not None:
        raise UserError(f"--topic {readable(topic)} given with --live: the node knows its camera; use --node")
    if model_options != type(model_options)():
        raise UserError(
            "--live shows a node, which has its own model: set it there, and leave --model etc. out"
        )
    if (reason := missing_ros()) is not None:
        raise UserError(f"--live needs ROS 2, and {reason}", status=1)


def check_packages() -> None:
    """Raises UserError if the extra `ui` is not installed."""
    try:
        import alembic  # noqa: F401
        import fastapi  # noqa: F401
        import sqlalchemy  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the page needs packages that are not installed ({error}): `pip install 'sam2_ros[ui]'`"
        ) from None


def _specs(sources: list[Path], topic: str | None) -> tuple[SourceSpec, ...]:
    from sam2_ros.media.bag.storage import is_bag
    from sam2_ros.ui.frames import SourceSpec

    bags = [path for path in sources if path.exists() and is_bag(path)]
    if topic is not None and not bags:
        raise UserError(f"--topic {topic} given without a bag: name a rosbag2, or leave --topic out")
    return tuple(SourceSpec(path, topic if path in bags else None) for path in sources)


def own_project() -> Path:
    """The project of this user that is used when none is named; only the user may read it. Raises UserError."""
    home = os.environ.get("XDG_STATE_HOME", "")
    folder = (
        (Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state") / "sam2_ros" / "ui"
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}): give a --project") from error
    return folder


def show_address(addresses: Addresses, no_open: bool) -> None:
    """Print the address of a server, and open it in the browser if there is a display."""
    print(addresses.printed, flush=True)
    if no_open:
        return
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        show.note(
            "no display: open the address in a browser; on another machine, after "
            f"`ssh -L {addresses.port}:127.0.0.1:{addresses.port} {os.uname().nodename}`"
        )
        return
    threading.Thread(target=_open_browser, args=(addresses.opened,), daemon=True).start()


def _open_browser(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        show.note("no browser was found: open the address yourself")
