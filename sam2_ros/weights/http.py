# SPDX-License-Identifier: Apache-2.0
"""Opens http and https addresses with time limits: until the response begins, and for its least rate.

huggingface_hub limits only the time of each read: it waits without end for a server that sends single bytes, and
accepts more bytes than were announced. Does not know what is downloaded.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any
from urllib.parse import urlsplit


class Pace:
    """Least rate of a download: `check` raises TimeoutError if fewer than `least_bytes` arrive within `window_s`."""

    def __init__(self, window_s: float, least_bytes: int) -> None:
        self._window_s, self._least_bytes = window_s, least_bytes
        self._began_s, self._began_bytes = time.monotonic(), -1

    def check(self, have_bytes: int) -> None:
        """Call it after every read, with the bytes received so far."""
        now_s = time.monotonic()
        if self._began_bytes < 0:
            self._began_bytes = have_bytes
        if have_bytes - self._began_bytes >= self._least_bytes:
            self._began_s, self._began_bytes = now_s, have_bytes
        elif now_s - self._began_s > self._window_s:
            raise TimeoutError(
                f"only {have_bytes - self._began_bytes} bytes came in {now_s - self._began_s:.0f} s"
            )


def open_url(url: str, headers: Mapping[str, str], timeout_s: float) -> http.client.HTTPResponse:
    """Request an address; the body of the response is not read yet.

    Args:
        url: http or https.
        headers: of the request.
        timeout_s: limit for the connection, for each read, and for everything before the body together, with redirects.

    Raises:
        OSError: no response in time, an error response, or a redirect to another kind of address.
        http.client.HTTPException: a response that breaks the protocol.
    """
    sockets: list[socket.socket] = []
    handlers = (
        urllib.request.ProxyHandler(),
        _Connections(sockets),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    )
    opener = urllib.request.OpenerDirector()  # build_opener would add files, FTP and data addresses
    for handler in handlers:
        opener.add_handler(handler)
    with _deadline(sockets, timeout_s) as passed:
        try:
            response = opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=timeout_s)
        except (OSError, http.client.HTTPException) as error:
            if passed.is_set():
                raise TimeoutError(f"no answer within {timeout_s:g} s") from error
            raise
        if passed.is_set():  # a socket that was shut looks like the end of the headers
            raise TimeoutError(f"no answer within {timeout_s:g} s")
        return response


@contextlib.contextmanager
def _deadline(sockets: list[socket.socket], timeout_s: float) -> Iterator[threading.Event]:
    """Shuts the sockets down when the time is over: the time-out of a socket limits each read, not their sum."""
    passed = threading.Event()

    def shut() -> None:
        passed.set()
        for one in list(sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout_s, shut)
    timer.daemon = True
    timer.start()
    try:
        yield passed
    finally:
        timer.cancel()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https, but never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        kind = urlsplit(newurl).scheme.lower()
        if kind not in ("http", "https") or (req.type == "https" and kind == "http"):
            raise OSError(f"it redirects to '{newurl[:200]}', an address in {req.type} expected")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class _Connections(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Connects by http or https, and collects the sockets."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_noting(http.client.HTTPConnection, self._sockets), req)  # type: ignore[arg-type]

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_noting(http.client.HTTPSConnection, self._sockets), req)  # type: ignore[arg-type]


def _noting(
    kind: type[http.client.HTTPConnection], sockets: list[socket.socket]
) -> type[http.client.HTTPConnection]:
    """A connection class that adds its socket to a list as soon as it is connected."""

    class Noting(kind):  # type: ignore[misc, valid-type]
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    return Noting
