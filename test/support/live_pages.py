# SPDX-License-Identifier: Apache-2.0
"""For tests of the page beside a running node: a server of the page, clients that show pictures, and a camera.

Knows the socket and topics, not the server's code.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ui_servers import TOKEN, HttpAndSocket, PageClient, read_masks, serving

from sam2_ros.ui.live.config import LiveConfig
from sam2_ros.ui.server.config import Limits, ServerConfig
from sam2_ros.ui.server.live_service import LiveService
from sam2_ros.ui.session import WorkspaceConfig


@contextmanager
def live_server(project: Path, config: LiveConfig) -> Iterator[HttpAndSocket]:
    """A server in a thread of this process, on the graph of ROS_DOMAIN_ID."""
    settings = ServerConfig(
        WorkspaceConfig(project), port=0, token=TOKEN, limits=Limits(logins_per_s=1000), live=config
    )
    with serving(LiveService(settings), settings) as port:
        yield HttpAndSocket(port)


@dataclass(frozen=True)
class Seen:
    """One picture as a page has it: the event `live`, the JPEG ``[H, W, 3]`` RGB, and the masks by object."""

    event: dict[str, Any]
    image: np.ndarray
    masks: dict[int, np.ndarray]

    @property
    def index(self) -> int:
        return int(self.event["index"])

    def object(self, id: str) -> dict[str, Any] | None:
        return next((one for one in self.event["objects"] if one["id"] == id), None)

    def mask(self, id: str) -> np.ndarray | None:
        """The mask of an object that is TRACKING."""
        one = self.object(id)
        return self.masks[one["object"]] if one is not None and one["state"] == "TRACKING" else None


class Watcher:
    """A client that shows every picture it gets, and says so."""

    def __init__(self, client: PageClient) -> None:
        self.client = client
        client.ask("live")

    def see(
        self, what: str, fits: Callable[[Seen], Any] = lambda seen: True, timeout_s: float = 20.0
    ) -> Seen:
        """Show pictures until one fits. Those that came before are too old to count."""
        ends = time.monotonic() + timeout_s
        newest = 0
        while newest != self._newest():  # those that came beside answers
            newest = self._newest()
            self.client.ask("shown", index=newest)
        while True:
            assert time.monotonic() < ends, what
            self.client.read(lambda before=newest: self._newest() > before, ends - time.monotonic())
            newest = self._newest()
            seen = self._seen(newest)
            self.client.ask("shown", index=newest)
            if fits(seen):
                return seen

    def _newest(self) -> int:
        return max((event["index"] for event in self.client.named("live")), default=0)

    def _seen(self, index: int) -> Seen:
        event = next(event for event in self.client.named("live") if event["index"] == index)
        pictures = {data[0]: data for data in self.client.binaries if index_of(data) == index}
        image = cv2.imdecode(np.frombuffer(pictures[1][12:], np.uint8), cv2.IMREAD_COLOR)
        masks = read_masks(pictures[2], image.shape[:2])
        return Seen(event, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), masks)


def index_of(data: bytes) -> int:
    return int.from_bytes(data[8:12], "little")


class Camera:
    """Publishes an image at a rate, with the time of publishing as its stamp; a test changes which one.

    Attributes:
        shown: the image that is published.
        stamps: stamp of each published image, nanoseconds -> which image it was.
    """

    def __init__(self, send: Callable[[np.ndarray, int], Any], images: np.ndarray, rate_hz: float) -> None:
        self.images, self.shown, self.moving = images, 0, False
        self.stamps: dict[int, int] = {}
        self._send, self._period_s = send, 1 / rate_hz
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._ending.wait(self._period_s):
            if self.moving:
                self.shown = min(self.shown + 1, len(self.images) - 1)
            shown, stamp_ns = self.shown, time.time_ns()
            self.stamps[stamp_ns] = shown
            self._send(self.images[shown], stamp_ns)

    def image_of(self, seen: Seen) -> int:
        """Which image a picture shows."""
        seconds, nanoseconds = seen.event["stamp"].split(".")
        return self.stamps[int(seconds) * 10**9 + int(nanoseconds)]
