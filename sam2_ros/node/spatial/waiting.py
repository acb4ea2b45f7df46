# SPDX-License-Identifier: Apache-2.0
"""A queue of items that each wait for an answer. It polls for the answers and releases the items in order.

Does not know what the answer is or what happens to a released item: both are functions it is given. `put` never waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .location import NoPositionError, NotYetError

POLL_S = 0.005
MAX_ITEMS = 300  # more than ten seconds of a 30 Hz camera
MAX_BYTES = 128_000_000
STOP_PATIENCE_S = 1.0

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass
class _Entry(Generic[Item]):
    item: Item
    size_bytes: int
    since_s: float
    hurry: str = ""  # why it must not wait any longer


class WaitingQueue(Generic[Item, Answer]):
    """A bounded queue; its thread starts with the first item that has to wait.

    Args:
        ask: returns the answer for an item; raises NotYetError if it may still come, NoPositionError if it will not.
        release: called with an item, its answer or the reason why there is none, and the seconds it waited; in the
            order of `put`, never by two threads at once.
        failed: called with an exception of `release` or `ask` on the queue's thread; the next item follows.
        timeout_s: returns the maximum waiting time of an item in seconds.
    """

    def __init__(
        self,
        ask: Callable[[Item], Answer],
        release: Callable[[Item, Answer | NoPositionError, float], None],
        failed: Callable[[Exception], None],
        timeout_s: Callable[[], float],
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._ask = ask
        self._release = release
        self._failed = failed
        self._timeout_s = timeout_s
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._changed = threading.Condition()  # guards the attributes below
        self._entries: deque[_Entry[Item]] = deque()  # an item stays first until it is released
        self._in_hand = False  # the first one is being released
        self._stopped = False
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, item: Item, size_bytes: int) -> int:
        """Release an item at once if its answer is there and no item waits before it; otherwise queue it.

        Called by one thread. If there is no room, the oldest items are released without an answer. Items that cannot be
        released, because the release of an earlier one takes too long, are dropped; returns their number.
        """
        entry = _Entry(item, size_bytes, time.monotonic())
        if not self._entries and not self._stopped:  # only this thread adds items
            answer = self._answer(entry)
            if answer is not None:
                self._release(item, answer, 0.0)
                return 0
        lost = 0
        with self._changed:
            if self._stopped:
                return 0
            self._entries.append(entry)
            self._make_room()
            while self._stuck():
                del self._entries[1]
                lost += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sam2-positions", daemon=True)
                self._thread.start()
            self._changed.notify()
            return lost

    def hurry(self, reason: str) -> None:
        """Release all items that are in the queue now, without waiting any longer for their answers."""
        with self._changed:
            for entry in self._entries:
                entry.hurry = entry.hurry or reason
            self._changed.notify()

    def stop(self) -> bool:
        """Release all items and stop. False if that takes too long."""
        with self._changed:
            self._stopped = True
            thread = self._thread
        self.hurry("the node stops")
        if thread is not None:
            thread.join(STOP_PATIENCE_S)
        return thread is None or not thread.is_alive()

    def _stuck(self) -> bool:
        """True if one release takes so long that the items behind it exceed twice the limits."""
        behind = list(self._entries)[1:] if self._in_hand else []
        size_bytes = sum(entry.size_bytes for entry in behind)
        return len(behind) > 1 and (len(behind) > 2 * self._max_items or size_bytes > 2 * self._max_bytes)

    def _make_room(self) -> None:
        """Hurry the oldest items, never the newest, until the others are within the limits."""
        count, size_bytes = len(self._entries), sum(entry.size_bytes for entry in self._entries)
        left = count
        for entry in self._entries:
            if left == 1 or (left <= self._max_items and size_bytes <= self._max_bytes):
                return
            entry.hurry = entry.hurry or f"{count} results wait already, the maximum"
            left, size_bytes = left - 1, size_bytes - entry.size_bytes

    def _answer(self, entry: _Entry[Item]) -> Answer | NoPositionError | None:
        """None = not yet."""
        try:
            return self._ask(entry.item)
        except NotYetError as error:
            if entry.hurry:
                return NoPositionError(f"{entry.hurry}: stopped waiting for the transform. {error}")
            waited_s = time.monotonic() - entry.since_s
            return error if waited_s >= self._timeout_s() else None
        except NoPositionError as error:
            return error

    def _run(self) -> None:
        while (entry := self._first()) is not None:
            try:
                answer = self._answer(entry)
                if answer is None:
                    with self._changed:
                        if not (entry.hurry or self._stopped):
                            self._changed.wait(POLL_S)
                    continue
                with self._changed:
                    self._in_hand = bool(self._entries) and self._entries[0] is entry
                    if not self._in_hand:
                        continue  # dropped meanwhile
                self._release(entry.item, answer, time.monotonic() - entry.since_s)
            except Exception as error:  # one failed result must not stop all later ones
                self._failed(error)
            with self._changed:
                self._in_hand = False
                if self._entries and self._entries[0] is entry:
                    self._entries.popleft()

    def _first(self) -> _Entry[Item] | None:
        """Wait for the first item; None after `stop`."""
        with self._changed:
            while not self._entries:
                if self._stopped:
                    return None
                self._changed.wait()
            return self._entries[0]
