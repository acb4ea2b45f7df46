# SPDX-License-Identifier: Apache-2.0
"""Measures this machine: peak of its matrix product, memory in use.

Knows devices and data types; does not know the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil
import torch

PRODUCT_SIDE = {"cpu": 2048, "cuda": 8192}
"""Sides of the square matrices: large enough that overhead is negligible."""
PRODUCTS, PATIENCE_S = 6, 2.0


def product_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of the fastest of a few square matrix products, including warm-up.

    Uses this process's settings: its threads, and TF32 for float32 if it is allowed.
    """
    side = PRODUCT_SIDE.get(device.type, PRODUCT_SIDE["cpu"])
    draw = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, generator=draw, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    times_s = [_seconds(lambda: torch.mm(a, b, out=out), device) for _ in range(2)]
    while len(times_s) < PRODUCTS and sum(times_s) < PATIENCE_S:  # float16 takes minutes on some CPUs
        times_s.append(_seconds(lambda: torch.mm(a, b, out=out), device))
    return 2 * side**3 / min(times_s)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        work()
        last.record()
        torch.cuda.synchronize(device)
        return first.elapsed_time(last) / 1e3
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def memory_in_use_bytes(device: torch.device) -> int:
    """Device memory in use on CUDA, else this process's resident memory."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(psutil.Process().memory_info().rss)
