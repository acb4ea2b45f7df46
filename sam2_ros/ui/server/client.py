# SPDX-License-Identifier: Apache-2.0
"""One client of the socket: reads its commands within its limits, and sends answers and events.

A client's commands are carried out one after the other, so that a click never overtakes another; those that only read
run beside them. Does not know what a command does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Container

from fastapi import WebSocket, WebSocketDisconnect

from sam2_ros.errors import UserError, one_line
from sam2_ros.ui.session import Session

from .access import TokenBucket
from .commands import BESIDE, Command, MalformedError, Reply, parse
from .config import Limits
from .outbox import Outbox

_log = logging.getLogger(__name__)


class Client:
    """One tab.

    Attributes:
        source: number of the source whose events it gets; 0 = none.
        session: the clip that its commands act on.
        outbox: what waits to be sent.
    """

    def __init__(
        self,
        websocket: WebSocket,
        carry_out: Callable[[Client, Command], Awaitable[Reply]],
        limits: Limits,
        beside: Container[str] = BESIDE,
    ) -> None:
        self.source = 0
        self.session: Session | None = None
        self.outbox = Outbox(limits.pushed_bytes)
        self._websocket, self._carry_out, self._runs_beside = websocket, carry_out, beside
        self._room = asyncio.Semaphore(limits.in_flight)
        self._rate = TokenBucket(limits.commands_per_s, limits.burst)
        self._ordered: asyncio.Queue[Command] = asyncio.Queue()
        self._beside: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Serve until the socket closes. Commands that have begun are finished; those that wait are dropped."""
        tasks = [asyncio.create_task(work) for work in (self._read(), self._write(), self._answer_in_order())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if isinstance(error, Exception) and not isinstance(error, WebSocketDisconnect | RuntimeError):
                    _log.error("a client ended: %s", one_line(error))
        finally:
            for task in (*tasks, *self._beside):
                task.cancel()
            await asyncio.gather(*tasks, *self._beside, return_exceptions=True)
            self.outbox.close()

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            while wait_s := self._rate.take():
                await asyncio.sleep(wait_s)
            await self._room.acquire()
            text = message.get("text")
            try:
                if text is None:
                    raise MalformedError("a binary message given, a command as JSON text expected")
                command = parse(text)
            except MalformedError as error:
                self._reply(error.seq, Reply({}, error=str(error)))
                continue
            if command.do in self._runs_beside:
                task = asyncio.create_task(self._answer(command))
                self._beside.add(task)
                task.add_done_callback(self._beside.discard)
            else:
                self._ordered.put_nowait(command)

    async def _answer_in_order(self) -> None:
        while True:
            await self._answer(await self._ordered.get())

    async def _answer(self, command: Command) -> None:
        try:
            reply = await self._carry_out(self, command)
        except UserError as error:
            reply = Reply({}, error=str(error))
        except Exception as error:
            _log.exception("command %r failed", command.do[:80])
            reply = Reply({}, error=f"{command.do[:80]} failed: {one_line(error)}")
        self._reply(command.seq, reply)

    def _reply(self, seq: int | None, reply: Reply) -> None:
        answer = (
            {"seq": seq, "ok": False, "error": " ".join(reply.error.split())}
            if reply.error
            else {"seq": seq, "ok": True, "result": reply.result}
        )
        self.outbox.answer([*reply.binaries, json.dumps(answer)], self._room.release)

    async def _write(self) -> None:
        while True:
            outgoing = await self.outbox.next()
            try:
                for message in outgoing.messages:
                    if isinstance(message, str):
                        await self._websocket.send_text(message)
                    else:
                        await self._websocket.send_bytes(message)
            finally:
                outgoing.sent()


async def refuse(websocket: WebSocket, line: str) -> None:
    """Tell a client why it is not served, and close."""
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await websocket.send_text(json.dumps({"event": "notice", "text": line}))
        await websocket.close(1013)
