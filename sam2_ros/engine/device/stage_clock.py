# SPDX-License-Identifier: Apache-2.0
"""Measures the time of each stage of a frame, on the host or on the GPU.

Knows stage names and devices. Does not print or keep a history.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StageClock:
    """Sums milliseconds by stage. On a GPU by device events, which are read only at the end."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._begin = time.perf_counter()
        self._host_ms: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as a part of this stage."""
        if self._on_gpu:
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            yield
            last.record()
            self._events.append((name, first, last))
        else:
            begin = time.perf_counter()
            yield
            self._host_ms[name] = self._host_ms.get(name, 0.0) + (time.perf_counter() - begin) * 1e3

    def timings_ms(self) -> dict[str, float]:
        """Milliseconds by stage, and `total` since the clock was made; waits for the GPU to finish."""
        if self._events:
            torch.cuda.synchronize()
        timings = dict(self._host_ms)
        for name, first, last in self._events:
            timings[name] = timings.get(name, 0.0) + first.elapsed_time(last)
        timings["total"] = (time.perf_counter() - self._begin) * 1e3
        return timings
