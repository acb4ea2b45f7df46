# SPDX-License-Identifier: Apache-2.0
"""A queue of results that wait for something each: asked about again and again, released in the order they came.

Does not know what is waited for nor what becomes of a result: both are functions it is given. Whoever puts a
result in never waits.
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
    """Bounded; its thread starts with the first item that has to wait.

    Args:
        ask: the answer for an item; NotYetError while asking again may help, NoPositionError when it will not.
        release: takes an item, its answer or why there is none, and the seconds it waited. Called in the order of
            `put`, never by two threads at once.
        failed: called with what `release` or `ask` raised on the queue's thread; the next item's turn comes.
        timeout_s: how long an item may wait.
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
        self._changed = threading.Condition()  # guards what follows
        self._entries: deque[_Entry[Item]] = deque()  # an item stays the first until it is released
        self._in_hand = False  # the first one is being released
        self._stopped = False
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, item: Item, size_bytes: int) -> int:
        """Release an item at once when its answer is there and nothing waits before it; else let it wait.

        Belongs to one thread. When there is no room, the oldest go without an answer; those that cannot even go,
        because the release of one before them takes so long, are dropped: returns how many.
        """
        entry = _Entry(item, size_bytes, time.monotonic())
        if not self._entries and not self._stopped:  # only this thread adds some
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
        """Nothing that is in the queue now waits any longer: it goes with the answer that is there, or with none."""
        with self._changed:
            for entry in self._entries:
                entry.hurry = entry.hurry or reason
            self._changed.notify()

    def stop(self) -> bool:
        """Release what waits and end. False when that takes too long."""
        with self._changed:
            self._stopped = True
            thread = self._thread
        self.hurry("the node stops")
        if thread is not None:
            thread.join(STOP_PATIENCE_S)
        return thread is None or not thread.is_alive()

    def _stuck(self) -> bool:
        """Whether releasing one takes so long that those behind it are twice what there is room for."""
        behind = list(self._entries)[1:] if self._in_hand else []
        size_bytes = sum(entry.size_bytes for entry in behind)
        return len(behind) > 1 and (len(behind) > 2 * self._max_items or size_bytes > 2 * self._max_bytes)

    def _make_room(self) -> None:
        """Hurry the oldest, the newest never, until the rest is within the limits."""
        count, size_bytes = len(self._entries), sum(entry.size_bytes for entry in self._entries)
        left = count
        for entry in self._entries:
            if left == 1 or (left <= self._max_items and size_bytes <= self._max_bytes):
                return
            entry.hurry = entry.hurry or f"{count} results wait already, as many as there is room for"
            left, size_bytes = left - 1, size_bytes - entry.size_bytes

    def _answer(self, entry: _Entry[Item]) -> Answer | NoPositionError | None:
        """None = not yet."""
        try:
            return self._ask(entry.item)
        except NotYetError as error:
            if entry.hurry:
                return NoPositionError(f"{entry.hurry}: not waited for any longer. {error}")
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
            except Exception as error:  # one bad result must not silence all later ones
                self._failed(error)
            with self._changed:
                self._in_hand = False
                if self._entries and self._entries[0] is entry:
                    self._entries.popleft()

    def _first(self) -> _Entry[Item] | None:
        """The next in turn, once there is one; None when it is time to end."""
        with self._changed:
            while not self._entries:
                if self._stopped:
                    return None
                self._changed.wait()
            return self._entries[0]
