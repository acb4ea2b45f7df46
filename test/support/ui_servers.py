# SPDX-License-Identifier: Apache-2.0
"""A running server of the browser page in this process, and clients that speak HTTP and its socket as a page does.

The model is nano at 128 pixels. Knows nothing of what is tested.
"""

from __future__ import annotations

import http.client
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

from sam2_ros.ui.frames import SourceSpec
from sam2_ros.ui.server.access import Access
from sam2_ros.ui.server.config import Limits, ServerConfig
from sam2_ros.ui.server.live_service import LiveService
from sam2_ros.ui.server.run import listen, make_server
from sam2_ros.ui.server.service import Service
from sam2_ros.ui.session import WorkspaceConfig
from sam2_ros.ui.store.run_lengths import to_mask
from sam2_ros.weights.open_model import ModelOptions

MODEL = ModelOptions(device="cpu", image_size=256)
TOKEN = "a-token-for-the-tests"
WAIT_S = 60.0


class HttpAndSocket:
    """Requests to a server at a port of the loopback, with the headers that a page of it would send."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.origin = f"http://{self.host}"

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        cookie: bool = True,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body. A header of the value "" is left out."""
        sent = {"Host": self.host} | ({"Origin": self.origin} if method != "GET" else {})
        sent |= {"Cookie": self.cookie()} if cookie else {}
        sent |= dict(headers or {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if body is not None and "Content-Length" not in sent:
                sent["Content-Length"] = str(len(body))
            for name, value in sent.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def login(self, token: str = TOKEN, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Status, and the cookie as it is sent back."""
        body = json.dumps({"token": token}).encode()
        status, found, _ = self.request("POST", "/login", body, headers, cookie=False)
        return status, found.get("set-cookie", "").split(";")[0]

    def cookie(self) -> str:
        return self.login()[1]

    @contextmanager
    def client(self, source: int = 0, cookie: str | None = None) -> Iterator[PageClient]:
        """A socket; with a source, it is opened."""
        headers = {"Cookie": self.cookie() if cookie is None else cookie}
        with connect(
            f"ws://{self.host}/socket",
            origin=self.origin,  # type: ignore[arg-type]
            additional_headers=headers,
            max_size=None,
            open_timeout=WAIT_S,
            ping_interval=None,
        ) as socket:
            page = PageClient(socket)
            if source:
                page.ask("open", source=source)
            yield page


class PageClient:
    """One socket. Collects what comes beside the answers.

    Attributes:
        events: in order.
        binaries: binary messages since the last command, in order.
        seqs: numbers of the answers, in order.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self.binaries: list[bytes] = []
        self.seqs: list[int] = []
        self.answers: dict[int, dict[str, Any]] = {}
        self.seq = 0

    def send(self, do: str, **fields: Any) -> int:
        """Send a command; returns its number."""
        self.seq += 1
        self.socket.send(json.dumps({"seq": self.seq, "do": do, **fields}))
        return self.seq

    def answer(self, seq: int | None) -> dict[str, Any]:
        """Read until the answer to a command is there."""
        self.read(lambda: seq in self.answers)
        return self.answers.pop(seq)  # type: ignore[arg-type]

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """The result of a command."""
        self.binaries = []
        answer = self.answer(self.send(do, **fields))
        assert answer["ok"], answer["error"]
        return answer["result"]  # type: ignore[no-any-return]

    def refused(self, do: str, **fields: Any) -> str:
        """The error of a command that is refused."""
        answer = self.answer(self.send(do, **fields))
        assert not answer["ok"]
        assert "\n" not in answer["error"]
        return str(answer["error"])

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    def event(self, name: str, fits: Callable[[dict[str, Any]], bool] = lambda event: True) -> dict[str, Any]:
        """Read until there is an event that fits."""
        self.read(lambda: any(map(fits, self.named(name))))
        return next(filter(fits, self.named(name)))

    def read(self, until: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        ends = time.monotonic() + timeout_s
        while not until():
            message = self.socket.recv(timeout=max(ends - time.monotonic(), 0.01))
            if isinstance(message, bytes):
                self.binaries.append(message)
                continue
            found = json.loads(message)
            if "event" in found:
                self.events.append(found)
            else:
                self.seqs.append(found["seq"])
                self.answers[found["seq"]] = found

    def masks(self, hw: tuple[int, int], index: int | None = None) -> dict[int, np.ndarray]:
        """Masks by object, of the newest message with masks (of this frame)."""
        for data in reversed(self.binaries):
            if data[0] == 2 and (index is None or struct.unpack_from("<I", data, 8)[0] == index):
                return read_masks(data, hw)
        raise AssertionError(f"no masks among messages of the kinds {[data[0] for data in self.binaries]}")

    def wait_until_decoded(self) -> None:
        ends = time.monotonic() + WAIT_S
        while (source := self.ask("state")["source"])["decoded"] < source["frames"]:
            assert time.monotonic() < ends
            time.sleep(0.02)

    def track(self, frame: int, direction: str) -> dict[str, Any]:
        """Track to the end."""
        self.events = [event for event in self.events if event["event"] != "tracked"]
        self.ask("track", frame=frame, direction=direction)
        return self.event("tracked")


def read_masks(data: bytes, hw: tuple[int, int]) -> dict[int, np.ndarray]:
    """Masks ``[H, W]`` bool by object, of a message of kind 2 or 4."""
    (count,) = struct.unpack_from("<I", data, 12)
    found, at = {}, 16
    for _ in range(count):
        number, _, _, _, runs = struct.unpack_from("<IIffI", data, at)
        found[number] = to_mask(np.frombuffer(data, "<u4", runs, at + 20), *hw)
        at += 20 + 4 * runs
    assert at == len(data)
    return found


class RunningServer(HttpAndSocket):
    """A server in a thread of this process."""

    def __init__(self, port: int, service: Service) -> None:
        super().__init__(port)
        self.service = service


@contextmanager
def running_server(
    project: Path, *sources: Path, limits: Limits | None = None, demo_frames: int = 0
) -> Iterator[RunningServer]:
    """A server on a project with these sources."""
    specs = tuple(SourceSpec(source) for source in sources)
    workspace = WorkspaceConfig(project, specs, MODEL, demo_frames=demo_frames)
    config = ServerConfig(workspace, port=0, token=TOKEN, limits=limits or Limits(logins_per_s=1000))
    service = Service(config)
    with serving(service, config) as port:
        yield RunningServer(port, service)


@contextmanager
def serving(service: Service | LiveService, config: ServerConfig) -> Iterator[int]:
    """Serves in a thread of this process; gives the port. The service is closed at the end."""
    with listen(config.host, config.port) as listening:
        port = listening.getsockname()[1]
        access = Access(config.token, config.host, port, config.limits.logins_per_s)
        server = make_server(service, access, config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(WAIT_S)
            service.close()
