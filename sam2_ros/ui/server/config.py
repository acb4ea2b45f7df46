# SPDX-License-Identifier: Apache-2.0
"""What the server is started with, and the limits of what a client may ask for.

Plain values. Knows no HTTP.
"""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field

from sam2_ros.errors import UserError
from sam2_ros.ui.live.config import LiveConfig
from sam2_ros.ui.session import WorkspaceConfig

LEAST_TOKEN = 16
DEFAULT_PORT = 8322
LOOPBACK = "127.0.0.1"


def new_token() -> str:
    """A random token, 256 bits."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Limits:
    """Limits of one server.

    Attributes:
        clients: open sockets, all tabs together.
        connections: open HTTP connections, the sockets included.
        message_bytes: of one message from a client.
        in_flight: commands of one client that are not answered yet; the next ones wait in the network.
        commands_per_s, burst: rate of one client's commands, and how many may come at once. More wait as well.
        pushed_bytes: masks that wait for a client that reads slowly; the oldest are dropped beyond it.
        logins_per_s: attempts with a token, of all clients together.
        pictures: uploaded pictures of a project.
        exports: exports that wait or run.
    """

    clients: int = 16
    connections: int = 128
    message_bytes: int = 1 << 20
    in_flight: int = 32
    commands_per_s: float = 200.0
    burst: int = 400
    pushed_bytes: int = 1 << 20
    logins_per_s: float = 5.0
    pictures: int = 100
    exports: int = 8


@dataclass(frozen=True)
class ServerConfig:
    """A server and its project.

    Attributes:
        workspace: the project that it serves.
        host: address to listen on.
        port: port to listen on; None = `DEFAULT_PORT`, or any free one if that is in use; 0 = any free one.
        token: the secret that opens the page.
        limits: of the clients.
        live: a running node that is shown, instead of the clips of the project; recorded prompts go to its `exports/`.

    Raises:
        UserError: a token that is too short to be a secret.
    """

    workspace: WorkspaceConfig
    host: str = LOOPBACK
    port: int | None = None
    token: str = field(default_factory=new_token)
    limits: Limits = field(default_factory=Limits)
    live: LiveConfig | None = None

    def __post_init__(self) -> None:
        if len(self.token) < LEAST_TOKEN or not (self.token.isascii() and self.token.isprintable()):
            raise UserError(
                f"--token of {len(self.token)} characters given, {LEAST_TOKEN} or more of ASCII expected: leave it out "
                "for a random one"
            )


def is_loopback(host: str) -> bool:
    """True if only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def check_host(host: str, token: str | None) -> None:
    """Refuse to serve other machines without a token that the user has chosen and passes on.

    Raises:
        UserError: another address than the loopback, and no token.
    """
    if not is_loopback(host) and token is None:
        raise UserError(
            f"--host {host} lets other machines in, without encryption: give a --token of {LEAST_TOKEN} or more "
            "characters as well, or leave --host out and use `ssh -L`"
        )
