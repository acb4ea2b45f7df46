# SPDX-License-Identifier: Apache-2.0
"""A mailbox for one item: `put` never waits and replaces an item that was not taken; `take` waits for a new one.

Knows nothing of ROS, images or tracking. Each item is taken at most once, so no image is processed twice.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Newest wins: if the producer is faster than the consumer, older items are dropped and counted.

    Attributes:
        received: number of items put so far.
        dropped: number of items replaced by a newer one before they were taken.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._kept: Item | None = None  # always older than _newest
        self._newest: Item | None = None
        self._closed = False
        self.received = 0
        self.dropped = 0

    def put(self, item: Item, keep: bool = False) -> None:
        """Store `item` for the next `take`; the item before, if not taken, is dropped and counted.

        An item with `keep` is not replaced: newer ones wait behind it. One item can be kept at a time. Does nothing
        while closed.
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
        """Wait for a new item; None if the mailbox is closed or the time is up."""
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
        """Discard waiting items, and count them neither as received nor as dropped: nobody wants them any more."""
        with self._changed:
            self.received -= self.waiting
            self._kept = self._newest = None

    def close(self) -> None:
        """Make every `take` return None, from now until `open`."""
        with self._changed:
            self._closed = True
            self._kept = self._newest = None
            self._changed.notify_all()

    def open(self) -> None:
        """Accept items again after `close`. The mailbox is empty; the counts continue."""
        with self._changed:
            self._closed = False
            self._kept = self._newest = None

    @property
    def waiting(self) -> int:
        """Number of items that were not taken yet."""
        return (self._kept is not None) + (self._newest is not None)
