# SPDX-License-Identifier: Apache-2.0
"""Hands events of sessions and exports to the clients that look at their source.

Takes events from any thread and returns at once. Does not know commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Hashable, Iterator
from typing import Protocol

from sam2_ros.ui.session import Event, MaskEvent

from .messages import masks_message
from .outbox import Outbox


class Listener(Protocol):
    """A client as the hub sees it.

    Attributes:
        source: number of the source that it has open; 0 = none.
        outbox: what waits to be sent to it.
    """

    source: int
    outbox: Outbox


class Hub:
    """All clients of one server.

    Attributes:
        clients: those with an open socket. For the thread of the event loop.
    """

    def __init__(self) -> None:
        self.clients: list[Listener] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._acting = threading.local()

    def start(self) -> None:
        """Deliver events in the running loop from now on; earlier ones had no client."""
        self._loop = asyncio.get_running_loop()

    @contextlib.contextmanager
    def acting(self, client: Listener) -> Iterator[None]:
        """In the block, events of this thread are a client's own doing: its state is not told to itself, as it asks."""
        self._acting.client = client
        try:
            yield
        finally:
            self._acting.client = None

    def on_event(self, event: Event) -> None:
        """Take an event from any thread."""
        if self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended
            self._loop.call_soon_threadsafe(self._deliver, event, getattr(self._acting, "client", None))

    def tell(self, client: Listener, text: str) -> None:
        """A notice for one client."""
        client.outbox.event(("notice", text), json.dumps({"event": "notice", "text": text}))

    def _deliver(self, event: Event, origin: Listener | None) -> None:
        if isinstance(event, MaskEvent):
            data = masks_message(event.source, event.frame, event.masks)
            for client in self.clients:
                if client.source == event.source:
                    client.outbox.push((event.source, event.frame), data)
            return
        name, source = event["event"], event.get("source")
        if isinstance(source, dict):  # of a state
            source = source["number"]
        key: Hashable = (name, source, *(event.get(part) for part in _TELLS_APART.get(name, ())))
        text = json.dumps(event)
        for client in self.clients:
            if client.source == source and not (name == "state" and client is origin):
                client.outbox.event(key, text)


_TELLS_APART = {"progress": ("what",), "exported": ("job",), "notice": ("text",)}
"""Values by which events of one name and source are not the same: the newer one does not replace the older."""
