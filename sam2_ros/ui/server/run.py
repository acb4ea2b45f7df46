# SPDX-License-Identifier: Apache-2.0
"""Starts the server, and ends it in order at Ctrl-C or SIGTERM.

Does not know options of the command line.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import uvicorn

from sam2_ros.errors import UserError
from sam2_ros.ui.frames import SourceSpec

from .access import Access
from .app import make_app
from .config import DEFAULT_PORT, ServerConfig
from .live_service import LiveService
from .service import Service

_END_S = 5.0  # for clients, exports and a frame that is being tracked; all is saved at any moment
_BACKLOG = 128


@dataclass(frozen=True)
class Addresses:
    """Addresses of a server that is about to listen.

    Attributes:
        printed: with the token; for the user's eyes.
        opened: with a token for one login; for the command line of a browser, which other users of the machine see.
        port: on which it listens.
    """

    printed: str
    opened: str
    port: int


def serve(config: ServerConfig, on_ready: Callable[[Addresses], None]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        config: the server.
        on_ready: called once, when clients can connect.

    Raises:
        UserError: the port cannot be used, or the project cannot be opened, see `Workspace.open`.
        KeyboardInterrupt: it was ended by Ctrl-C.
        SystemExit: it was ended by SIGTERM.
    """
    listening = listen(config.host, config.port)
    with listening:
        port = listening.getsockname()[1]
        service = Service(config) if config.live is None else LiveService(config)
        access = Access(config.token, config.host, port, config.limits.logins_per_s)
        server = make_server(service, access, config)
        base, rest = f"http://{_shown(config.host)}:{port}/#token=", _opens(service, config)
        printed, opened = (
            f"{base}{quote(token, '')}{rest}" for token in (config.token, access.one_time_token())
        )
        try:
            on_ready(Addresses(printed, opened, port))
            with _ended_by_hangup(server):
                server.run(sockets=[listening])
        finally:
            _close(service)


@contextmanager
def _ended_by_hangup(server: uvicorn.Server) -> Iterator[None]:
    """In the block, SIGHUP ends the server in order, as SIGINT and SIGTERM do; then it does what it did before."""
    before = signal.getsignal(signal.SIGHUP)
    if not callable(before):  # ignored, by nohup
        yield
        return
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        server.should_exit = True

    signal.signal(signal.SIGHUP, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
        for number in received[:1]:
            signal.raise_signal(number)


def make_server(service: Service | LiveService, access: Access, config: ServerConfig) -> uvicorn.Server:
    """The web server, which is not started yet."""
    limits = config.limits
    return uvicorn.Server(
        uvicorn.Config(
            make_app(service, access),
            log_config=None,
            log_level="error",
            access_log=False,
            lifespan="on",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=limits.connections,
            ws_max_size=limits.message_bytes,
            ws_per_message_deflate=False,  # JPEGs do not shrink, and masks are wanted at once
            ws_ping_interval=20.0,
            ws_ping_timeout=60.0,  # a client that does not read for so long is given up
            timeout_graceful_shutdown=1,
        )
    )


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket.

    Args:
        host: address or name of this machine.
        port: see `ServerConfig`.

    Raises:
        UserError: the address is not one of this machine, or the port is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise UserError(f"--host {host!r} given, an address of this machine expected ({error})") from None
    for wanted in (DEFAULT_PORT, 0) if port is None else (port,):
        # With its protocol, as asyncio sends small messages at once (TCP_NODELAY) only on sockets that name it.
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((address[0], wanted, *address[2:]))
            listening.listen(_BACKLOG)  # at once: a bound port that does not listen can be bound twice
        except OSError as error:
            listening.close()
            if error.errno == errno.EADDRINUSE and port is None and wanted:
                continue
            raise UserError(_why_not(host, wanted, error)) from None
        return listening
    raise AssertionError("one port was tried at least")


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"--port {port} is in use by another program: give another one, or leave it out for any free one"
        )
    if error.errno == errno.EACCES:
        return f"--port {port} may not be used ({error.strerror}): give one above 1023"
    return f"--host {host} cannot be listened on ({error.strerror}): an address of this machine expected"


def _shown(host: str) -> str:
    """The host as it stands in an address that opens on this machine."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _opens(service: Service | LiveService, config: ServerConfig) -> str:
    """The end of the address that opens a source at once: the only one that was named."""
    if isinstance(service, LiveService) or len(config.workspace.sources) != 1:
        return ""
    (named,) = config.workspace.sources
    there = [row["source"] for row in service.workspace.gallery()]
    found = [number for number in there if _is_same(service.workspace.source_spec(number), named)]
    return f"&source={found[-1]}" if found else ""


def _is_same(one: SourceSpec, other: SourceSpec) -> bool:
    return Path(one.path).absolute() == Path(other.path).absolute() and (one.topic, one.glob) == (
        other.topic,
        other.glob,
    )


def _close(service: Service | LiveService) -> None:
    """Close the project; end the process if that takes too long, such as while a large model is loaded."""
    closing = threading.Thread(target=service.close, daemon=True)
    closing.start()
    closing.join(_END_S)
    if closing.is_alive():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)  # threads that compute cannot be ended otherwise; all is saved
