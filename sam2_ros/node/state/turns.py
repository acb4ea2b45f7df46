# SPDX-License-Identifier: Apache-2.0
"""Takes turns with the tracker: images, and requests that copy or replace its memory between two images.

Knows no tracker. A plain lock would not do: while images wait, the tracking thread takes it again at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Turns:
    """Mutual exclusion, in which a request comes after the image in progress, however many images wait."""

    def __init__(self) -> None:
        self._door, self._tracker = threading.Lock(), threading.Lock()

    @contextlib.contextmanager
    def image(self) -> Iterator[None]:
        """One image, or one slice of catch-up work."""
        with self._door:
            self._tracker.acquire()
        try:
            yield
        finally:
            self._tracker.release()

    @contextlib.contextmanager
    def request(self, patience_s: float) -> Iterator[bool]:
        """One request; False if the image in progress takes longer than `patience_s`."""
        with self._door:
            mine = self._tracker.acquire(timeout=patience_s)
            try:
                yield mine
            finally:
                if mine:
                    self._tracker.release()
