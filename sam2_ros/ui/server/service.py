# SPDX-License-Identifier: Apache-2.0
"""Carries out the commands of all clients in threads: on the clip that a client has opened, and on the project.

Puts project, hub, exports and pictures together. Does not know routes or headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import WebSocket

from sam2_ros.errors import UserError
from sam2_ros.text import readable
from sam2_ros.ui.session import Workspace

from .client import Client
from .commands import BESIDE, OF_CLIP, OF_SERVER, Command, Reply, checked_fields
from .config import ServerConfig
from .hub import Hub
from .jobs import ExportJobs
from .pictures import Pictures

_CHANGING, _READING = 16, 16  # threads: those that wait for a frame must not hold up clicks


class Service:
    """One project for any number of clients.

    Attributes:
        hub: takes the events of the workspace.
        workspace: the project.
        exports: folder of the exports.
        pictures: uploaded pictures.
    """

    def __init__(self, config: ServerConfig) -> None:
        """Open the project. Raises UserError, see `Workspace.open`."""
        project = config.workspace.project
        self.hub = Hub()
        self.exports = project / "exports"
        self.pictures = Pictures(project / "pictures", config.limits.pictures)
        self._limits = config.limits
        self.workspace = Workspace.open(config.workspace, self.hub.on_event)
        options = config.workspace.model_options
        self._jobs = ExportJobs(
            self.workspace, self.exports, options, self.pictures, config.limits.exports, self.hub.on_event
        )
        self._changing = ThreadPoolExecutor(_CHANGING, "command")
        self._reading = ThreadPoolExecutor(_READING, "read")

    def start(self) -> None:
        """Called in the event loop, before the first client."""
        self.hub.start()

    def close(self) -> None:
        """End exports, tracking and decoding; everything is saved already."""
        self._jobs.close()
        self.workspace.close()
        for pool in (self._changing, self._reading):
            pool.shutdown(wait=True, cancel_futures=True)

    @property
    def is_full(self) -> bool:
        """True if no more clients are served."""
        return len(self.hub.clients) >= self._limits.clients

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one client until its socket closes."""
        client = Client(websocket, self._carry_out, self._limits)
        self.hub.clients.append(client)
        try:
            await client.serve()
        finally:
            self.hub.clients.remove(client)

    async def _carry_out(self, client: Client, command: Command) -> Reply:
        if command.do in OF_SERVER:
            fields = checked_fields(command, OF_SERVER[command.do])
            return await getattr(self, f"_{command.do}")(client, **fields)
        if command.do not in OF_CLIP:
            raise UserError(
                f"command {readable(command.do[:80])!r} given, one of {', '.join([*OF_SERVER, *OF_CLIP])} expected"
            )
        function = OF_CLIP[command.do]
        fields = checked_fields(command, function)
        session = client.session
        if session is None:
            raise UserError(f"{command.do} without a clip: send open first")
        pool = self._reading if command.do in BESIDE else self._changing
        return await self._in_thread(client, pool, lambda: function(session, **fields))

    async def _in_thread(self, client: Client, pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
        def acting() -> Any:
            with self.hub.acting(client):
                return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(pool, acting)
        except RuntimeError as error:
            if "shutdown" in str(error):
                raise UserError("the server is ending: start it again") from None
            raise

    async def _gallery(self, client: Client) -> Reply:
        found = await self._in_thread(client, self._changing, self.workspace.gallery)
        return Reply({"sources": found})

    async def _open(self, client: Client, source: int) -> Reply:
        before = client.source
        client.source = source  # before it is open, so that what is told while it opens is not lost
        try:
            session = await self._in_thread(
                client, self._changing, lambda: self.workspace.open_source(source)
            )
        except BaseException:
            client.source = before
            raise
        client.session = session
        return Reply(await self._in_thread(client, self._changing, session.state))

    async def _export(self, client: Client, kind: str, with_source: bool = False) -> Reply:
        if client.session is None:
            raise UserError("export without a clip: send open first")
        return Reply({"job": self._jobs.start(client.session, kind, with_source)})

    async def _cancel_export(self, client: Client, job: int) -> Reply:
        return Reply({"cancelled": self._jobs.cancel(job)})
