# SPDX-License-Identifier: Apache-2.0
"""Who may talk to the server: token, cookie, and the headers Host and Origin of every request.

Decides on values of headers. Knows no framework.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
import threading
import time

from .config import is_loopback

ONE_TIME_S = 120.0
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:\d{1,5})?", re.ASCII)


class Access:
    """The secrets of one server.

    * The token opens the page: it stands in the fragment of the address, which browsers send to no server.
    * `POST /login` exchanges it for the cookie, which scripts cannot read and other sites cannot send.
    * A one-time token is for the command line of a browser, which every user of the machine can read.

    Attributes:
        cookie_name: differs for each port, as browsers give a cookie to every port of a host.
    """

    def __init__(self, token: str, host: str, port: int, logins_per_s: float) -> None:
        self._token = token.encode()
        self._cookie = hmac.new(self._token, b"cookie of sam2-ros ui", hashlib.sha256).hexdigest()
        self._loopback = is_loopback(host)
        self._names = {"localhost"} if self._loopback else _own_names() | {host.lower()}
        self._one_time: dict[str, float] = {}
        self._attempts = TokenBucket(logins_per_s, logins_per_s)
        self._lock = threading.Lock()
        self.cookie_name = f"sam2_ros_{port}"

    @property
    def cookie(self) -> str:
        """Value of the cookie of a client that is logged in."""
        return self._cookie

    def one_time_token(self) -> str:
        """A token for one login within `ONE_TIME_S` seconds."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._one_time[token] = time.monotonic() + ONE_TIME_S
        return token

    def may_try(self) -> bool:
        """False if there were too many attempts to log in."""
        return self._attempts.take() == 0

    def is_token(self, given: object) -> bool:
        """True for the token, in constant time, or for a one-time token, which is used up."""
        if not isinstance(given, str):
            return False
        offered = given.encode("utf-8", "replace")
        with self._lock:
            now = time.monotonic()
            self._one_time = {token: until for token, until in self._one_time.items() if until > now}
            used = [token for token in self._one_time if hmac.compare_digest(token.encode(), offered)]
            for token in used:
                del self._one_time[token]
        return hmac.compare_digest(self._token, offered) or bool(used)

    def is_logged_in(self, cookie_header: str) -> bool:
        """True if the header `Cookie` holds the cookie."""
        pairs = (pair.partition("=") for pair in cookie_header.split(";"))
        values = [value.strip() for name, _, value in pairs if name.strip() == self.cookie_name]
        return any(hmac.compare_digest(value.encode(), self._cookie.encode()) for value in values)

    def host_problem(self, host: str) -> str:
        """Why a request with this header `Host` is refused; "" if it is not.

        Any address of numbers is accepted where other machines may come: a name that an attacker points at this machine
        (DNS rebinding) is no number.
        """
        found = _HOST.fullmatch(host.lower())
        if found is not None:
            name = found[1]
            try:
                address = ipaddress.ip_address(name.strip("[]"))
            except ValueError:
                allowed = name in self._names
            else:
                allowed = address.is_loopback or not self._loopback
            if allowed:
                return ""
        return f"host {host[:80]!r} given, the host of the address that the server printed expected"

    @staticmethod
    def origin_problem(origin: str | None, host: str, required: bool) -> str:
        """Why a request with this header `Origin` is refused; "" if it is not.

        Args:
            origin: the header; None = there is none, as in a browser's plain GET.
            host: the header `Host`.
            required: True for requests that change something, and for the socket.
        """
        if origin is None:
            return "no header Origin given, that of the page expected" if required else ""
        if origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return ""
        return f"origin {origin[:80]!r} given, that of the page expected"


class TokenBucket:
    """A rate limit: `burst` at once, then `per_s` a second."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._then = burst, time.monotonic()

    def take(self) -> float:
        """Take one; returns 0, or the seconds after which there is one again, without taking it."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._then) * self._per_s)
        self._then = now
        if self._left < 1:
            return (1 - self._left) / self._per_s
        self._left -= 1
        return 0.0


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {"localhost", name, f"{name}.local", socket.getfqdn().lower()}
