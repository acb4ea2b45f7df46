# SPDX-License-Identifier: Apache-2.0
"""Serves a running node to all clients: each gets the newest picture as fast as it shows them, and sends commands.

A client confirms what it has shown, and no more than a few pictures are under way to it: a slow one sees fewer
pictures, and none of them late. Does not know ROS, routes or headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from fastapi import WebSocket

from sam2_ros.errors import UserError
from sam2_ros.text import readable
from sam2_ros.ui.live.view import LiveFrame, LiveView

from .client import Client
from .commands import Command, Reply, checked_fields
from .config import ServerConfig
from .messages import FRAME, jpeg_message, masks_message
from .outbox import Message

_PUSHED_BYTES = 64 << 20  # only the newest picture waits, of whatever size it is
_UNDER_WAY = 3  # pictures that are sent to a client and not confirmed
_SOURCE = 0  # in binary messages: the node is no source of the project
_THREADS = 8  # a command waits for the node
_OF_NODE = ("click", "box", "remove", "reset", "record")
_BESIDE = frozenset({"gallery", "live", "shown"})


class LiveService:
    """One node for any number of clients.

    Attributes:
        exports: folder of the recorded prompts.
    """

    def __init__(self, config: ServerConfig) -> None:
        """Join the ROS graph. `config.live` says which node."""
        assert config.live is not None
        self.exports = config.workspace.project / "exports"
        self._limits = config.limits
        self._clients: list[Client] = []
        self._under_way: dict[
            Client, list[int]
        ] = {}  # of those that watch: indices of the pictures sent to it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._newest: tuple[int, tuple[Message, ...]] | None = None
        self._commands = ThreadPoolExecutor(_THREADS, "command")
        self._view = LiveView(config.live, self.exports, self._on_event)
        self._view.start()

    def start(self) -> None:
        """Called in the event loop, before the first client."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Leave the ROS graph."""
        self._view.close()
        self._commands.shutdown(wait=True, cancel_futures=True)

    @property
    def is_full(self) -> bool:
        """True if no more clients are served."""
        return len(self._clients) >= self._limits.clients

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one client until its socket closes."""
        limits = replace(self._limits, pushed_bytes=_PUSHED_BYTES)
        client = Client(websocket, self._carry_out, limits, _BESIDE)
        self._clients.append(client)
        try:
            await client.serve()
        finally:
            self._clients.remove(client)
            self._under_way.pop(client, None)
            self._view.watch(bool(self._under_way))
            if not self._under_way:
                self._newest = None  # too old for the next one who looks
            self._update_wanted()

    # From the node to the clients

    def _on_event(self, event: LiveFrame | dict[str, Any]) -> None:
        """Take an event from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended
                self._loop.call_soon_threadsafe(self._deliver, event)

    def _deliver(self, event: LiveFrame | dict[str, Any]) -> None:
        if isinstance(event, dict):
            text = json.dumps(event)
            for client in self._clients:
                client.outbox.event(event["event"], text)
            return
        if not self._under_way:  # the last one who looked has gone meanwhile
            return
        jpeg = jpeg_message(FRAME, _SOURCE, event.index, event.jpeg)
        masks = masks_message(_SOURCE, event.index, event.masks)
        self._newest = (event.index, (jpeg, masks, json.dumps(event.event)))
        for client, under_way in self._under_way.items():
            if len(under_way) < _UNDER_WAY:
                self._push(client, *self._newest)
        self._update_wanted()

    def _push(self, client: Client, index: int, messages: tuple[Message, ...]) -> None:
        self._under_way[client].append(index)
        client.outbox.push("live", *messages)

    def _update_wanted(self) -> None:
        """Pictures are made only if a client can take one."""
        if any(len(under_way) < _UNDER_WAY for under_way in self._under_way.values()):
            self._view.wanted.set()
        else:
            self._view.wanted.clear()

    # From the clients to the node

    async def _carry_out(self, client: Client, command: Command) -> Reply:
        if command.do in _BESIDE:
            own = getattr(self, f"_{command.do}")
            return Reply(own(client, **checked_fields(command, _FIELDS[command.do])))
        if command.do not in _OF_NODE:
            known = ", ".join([*_OF_NODE, *sorted(_BESIDE)])
            raise UserError(f"command {readable(command.do[:80])!r} given, one of {known} expected")
        function: Callable[..., dict[str, Any]] = getattr(self._view, command.do)
        fields = checked_fields(command, function)
        try:
            work = asyncio.get_running_loop().run_in_executor(self._commands, lambda: function(**fields))
            return Reply(await work)
        except RuntimeError as error:
            if "shutdown" in str(error):
                raise UserError("the server is ending: start it again") from None
            raise

    def _gallery(self, client: Client) -> dict[str, Any]:
        return {"sources": [], "live": True}

    def _live(self, client: Client) -> dict[str, Any]:
        self._under_way[client] = []
        self._view.watch(True)
        if self._newest is not None:  # a camera that stands still sends nothing new
            self._push(client, *self._newest)
        self._update_wanted()
        return self._view.state()

    def _shown(self, client: Client, index: int) -> dict[str, Any]:
        under_way = self._under_way.get(client, [])
        under_way[:] = [sent for sent in under_way if sent > index]
        self._update_wanted()
        return {}


def _gallery() -> None:
    """The page's first question, which tells it that it shows a node."""


def _live() -> None:
    """The state of the view; pictures come from now on."""


def _shown(index: int) -> None:
    """The client has shown the picture of this index: it can take more."""


_FIELDS: dict[str, Callable[..., None]] = {"gallery": _gallery, "live": _live, "shown": _shown}
