# SPDX-License-Identifier: Apache-2.0
"""What waits to be sent to one client, in order: answers, events, and pushed masks.

Bounded for a client that reads slowly: a newer event replaces the older one of its kind, the oldest masks are dropped,
answers are kept (their number is limited by the commands in flight). For the thread of the event loop. Knows no socket.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import count

Message = str | bytes


@dataclass(frozen=True)
class Outgoing:
    """Messages that are sent one after the other, and what is called then, even if they could not be sent."""

    messages: Sequence[Message]
    sent: Callable[[], None] = lambda: None


class Outbox:
    """The queue of one client.

    Attributes:
        dropped: number of masks that were dropped.
    """

    def __init__(self, pushed_bytes: int) -> None:
        self._most_bytes, self._bytes = pushed_bytes, 0
        self._waiting: OrderedDict[Hashable, Outgoing] = OrderedDict()
        self._pushed: OrderedDict[Hashable, int] = OrderedDict()  # bytes of those in `_waiting`
        self._numbers = count()
        self._grown = asyncio.Event()
        self.dropped = 0

    def answer(self, messages: Sequence[Message], sent: Callable[[], None]) -> None:
        """Add an answer. `sent` is called when it was sent."""
        self._add(("answer", next(self._numbers)), Outgoing(messages, sent))

    def event(self, key: Hashable, text: str) -> None:
        """Add an event, in place of one with an equal key that waits."""
        self._waiting.pop(("event", key), None)
        self._add(("event", key), Outgoing([text]))

    def push(self, key: Hashable, *messages: Message) -> None:
        """Add masks, or a picture with all that belongs to it, in place of those with an equal key that wait; the
        oldest ones make room."""
        own = ("push", key)
        self._forget(own)
        self._add(own, Outgoing(messages))
        self._pushed[own] = sum(map(len, messages))
        self._bytes += self._pushed[own]
        while self._bytes > self._most_bytes:
            self._forget(next(iter(self._pushed)))
            self.dropped += 1

    async def next(self) -> Outgoing:
        """The oldest, as soon as there is one."""
        while not self._waiting:
            self._grown.clear()
            await self._grown.wait()
        key, found = self._waiting.popitem(last=False)
        self._bytes -= self._pushed.pop(key, 0)
        return found

    def close(self) -> None:
        """Drop everything, and release what waits for answers."""
        while self._waiting:
            self._waiting.popitem(last=False)[1].sent()
        self._pushed.clear()
        self._bytes = 0

    def _add(self, key: Hashable, outgoing: Outgoing) -> None:
        self._waiting[key] = outgoing
        self._grown.set()

    def _forget(self, key: Hashable) -> None:
        if self._waiting.pop(key, None) is not None:
            self._bytes -= self._pushed.pop(key)
