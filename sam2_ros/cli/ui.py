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

from . import output as show
from .options import opens_model

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
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port to listen on; 0: any free one. Default: 8322, or any free one if it is in use.",
        ),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the browser.")] = False,
    token: Annotated[
        str | None,
        typer.Option(help="Secret of the address, 16 or more characters. Default: a new random one."),
    ] = None,
) -> None:
    """Open a page in the browser: click on objects, track them, correct, export. Ends with Ctrl-C.

    Prints one line, the address with its token: whoever has it can use the
    page. Everything is saved after every action; an ended or killed server
    loses nothing.
    """
    _check_packages()
    from sam2_ros.ui.server.config import ServerConfig, check_host, new_token
    from sam2_ros.ui.server.run import serve
    from sam2_ros.ui.session import WorkspaceConfig

    check_host(host, token)
    workspace = WorkspaceConfig(
        project or _own_project(), _specs(sources or [], topic), model_options, by=os.environ.get("USER", "")
    )
    config = ServerConfig(workspace, host, port, new_token() if token is None else token)
    try:
        serve(config, lambda addresses: _show(addresses, no_open))
    except KeyboardInterrupt:
        show.note("ended; everything is saved")


def _check_packages() -> None:
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


def _own_project() -> Path:
    """The project of this user that is used when none is named; only the user may read it."""
    home = os.environ.get("XDG_STATE_HOME", "")
    folder = (
        (Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state") / "sam2_ros" / "ui"
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}): give a --project") from error
    return folder


def _show(addresses: Addresses, no_open: bool) -> None:
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
