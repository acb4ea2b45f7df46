# SPDX-License-Identifier: Apache-2.0
"""Stands before the whole app: checks the headers Host and Origin, and adds the headers that protect the page.

Knows ASGI only: no routes, no sessions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .access import Access

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_READING = ("GET", "HEAD")


class Guard:
    """ASGI middleware. A request that is refused gets status 403 and one line; a socket is not accepted."""

    def __init__(self, app: AsgiApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        problem = self._problem(scope)
        if scope["type"] == "websocket":
            if problem:
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": problem[:100]})
                return
            await self._app(scope, receive, send)
            return

        async def send_protected(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        if problem:
            await _refuse(problem, send_protected)
        else:
            await self._app(scope, receive, send_protected)

    def _problem(self, scope: Scope) -> str:
        """Why the request is refused; "" if it is not."""
        hosts = _values(scope, b"host")
        if len(hosts) != 1:
            return f"{len(hosts)} headers Host given, one expected"
        if problem := self._access.host_problem(hosts[0]):
            return problem
        origins = _values(scope, b"origin")
        if len(origins) > 1:
            return f"{len(origins)} headers Origin given, one expected"
        required = scope["type"] == "websocket" or scope["method"] not in _READING
        return self._access.origin_problem(origins[0] if origins else None, hosts[0], required)


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


async def _refuse(line: str, send: Send) -> None:
    body = f"{line}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
