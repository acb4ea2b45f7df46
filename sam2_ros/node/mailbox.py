# SPDX-License-Identifier: Apache-2.0
"""A mailbox for one item: `put` never waits and replaces what was not taken, `take` waits for a new one.

Knows nothing of ROS, images or tracking. An item is handed out at most once, so no image is ever processed
twice.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Newest wins: between a fast producer and a slow consumer, older items are dropped and counted.

    Attributes:
        received: items put so far.
        dropped: items replaced by a newer one before anybody took them.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._kept: Item | None = None  # always older than _newest
        self._newest: Item | None = None
        self._closed = False
        self.received = 0
        self.dropped = 0

    def put(self, item: Item, keep: bool = False) -> None:
        """Store `item` for the next `take`; an item that nobody took is dropped and counted.

        An item to `keep` is not replaced by newer ones, which wait behind it; one can be kept at a time.
        Ignored when closed.
        """
        with self._changed:
            if self._closed:
                return
            self.received += 1
            if self._newest is not None:
                self.dropped += 1
            if keep and self._kept is None:
                self._kept, self._newest = item, None
            else:
                self._newest = item
            self._changed.notify()

    def take(self, timeout_s: float | None = None) -> Item | None:
        """Wait for an item that was not taken before; None when the mailbox is closed or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self.waiting > 0 or self._closed, timeout_s)
            if self._closed:
                return None
            item: Item | None
            if self._kept is not None:
                item, self._kept = self._kept, None
            else:
                item, self._newest = self._newest, None
            return item

    def clear(self) -> None:
        """Forget what waits without counting it.

        It was never dropped, it belongs to a time when nobody was to look.
        """
        with self._changed:
            self.received -= self.waiting
            self._kept = self._newest = None

    def close(self) -> None:
        """Wake every waiting `take` with None, now and until `open`."""
        with self._changed:
            self._closed = True
            self._kept = self._newest = None
            self._changed.notify_all()

    def open(self) -> None:
        """Accept items again after `close`, empty; the counts go on."""
        with self._changed:
            self._closed = False
            self._kept = self._newest = None

    @property
    def waiting(self) -> int:
        """Items that nobody has taken yet."""
        return (self._kept is not None) + (self._newest is not None)
