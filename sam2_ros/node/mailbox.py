"""A mailbox for one item: `put` never waits and replaces what was not taken, `take` waits for a new one.

Knows nothing of ROS, images or tracking. An item is handed out at most once, so no image is ever processed
twice.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Newest wins: between a fast producer and a slow consumer, older items are dropped and counted."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._closed = False
        self._received = 0
        self._dropped = 0

    def put(self, item: Item) -> None:
        """Store `item` for the next `take`; an item that nobody took is dropped and counted.

        Ignored when closed.
        """
        with self._changed:
            if self._closed:
                return
            self._received += 1
            if self._item is not None:
                self._dropped += 1
            self._item = item
            self._changed.notify()

    def take(self, timeout_s: float | None = None) -> Item | None:
        """Wait for an item that was not taken before; None when the mailbox is closed or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            if self._closed:
                return None
            item, self._item = self._item, None
            return item

    def clear(self) -> None:
        """Forget the waiting item without counting it as dropped.

        It belongs to a time when nobody was to look.
        """
        with self._changed:
            if self._item is not None:
                self._received -= 1
            self._item = None

    def close(self) -> None:
        """Wake every waiting `take` with None, now and until `open`."""
        with self._changed:
            self._closed = True
            self._item = None
            self._changed.notify_all()

    def open(self) -> None:
        """Accept items again after `close`, empty; the counts go on."""
        with self._changed:
            self._closed = False
            self._item = None

    @property
    def received(self) -> int:
        """Items put so far."""
        return self._received

    @property
    def dropped(self) -> int:
        """Items replaced by a newer one before anybody took them."""
        return self._dropped
