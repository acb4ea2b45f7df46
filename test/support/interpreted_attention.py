# SPDX-License-Identifier: Apache-2.0
"""Compares the Triton attention kernel with float64, on a GPU or in Triton's interpreter.

The interpreter must be switched on before Triton is imported: `in_interpreter` does it in a new process.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from sam2_ros.engine.kernels.gpu import PROJECTED, TRITON, Kernel, Shape
from sam2_ros.engine.kernels.gpu_choice import Measured, time_kernels
from sam2_ros.engine.kernels.triton_tiles import Tiles

SMALL_TILES = Tiles(32, 32, 4, 2)


@dataclass(frozen=True)
class Case:
    """Random queries, keys and values; `size` is the standard deviation of queries and keys."""

    queries: int
    keys: int
    dtype: str = "float32"
    batch: int = 1
    heads: int = 1
    channels: int = 256
    value_channels: int = 64
    size: float = 1.0
    shared_queries: bool = False
    splits: int | None = 1
    tiles: Tiles = SMALL_TILES


@contextmanager
def in_interpreter() -> Iterator[Executor]:
    """A process in which `largest_error` runs on the CPU."""
    os.environ["TRITON_INTERPRET"] = "1"
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), initializer=_repair_interpreter
    ) as process:
        process.submit(os.getpid).result()  # started, with this variable
        del os.environ["TRITON_INTERPRET"]
        yield process


def largest_error(case: Case, device: str = "cpu") -> float:
    """Largest error of the kernel, relative to the largest number of the float64 result."""
    from sam2_ros.engine.kernels.triton_attention import triton_attention

    draw = torch.Generator().manual_seed(case.queries * case.keys)

    def random(batch: int, count: int, channels: int, size: float) -> torch.Tensor:
        x = size * torch.randn(batch, case.heads, count, channels, generator=draw)
        return x.to(device, getattr(torch, case.dtype))

    q = random(1 if case.shared_queries else case.batch, case.queries, case.channels, case.size)
    k = random(case.batch, case.keys, case.channels, case.size)
    v = random(case.batch, case.keys, case.value_channels, 1.0)
    q = q.expand(case.batch, -1, -1, -1)
    scores = q.double() @ k.double().transpose(2, 3) * case.channels**-0.5
    exact = scores.softmax(dim=-1) @ v.double()
    found = triton_attention(q, k, v, case.tiles, case.splits)
    assert found.dtype == v.dtype
    return float((found.double() - exact).abs().max() / exact.abs().max())


def timed_beside_projected_values(shape: Shape) -> Measured:
    """Runs the kernel choice as loading a model onto a GPU would; the answers are compared, the times ignored."""
    kernels, cpu = [PROJECTED, Kernel(TRITON, SMALL_TILES)], torch.device("cpu")
    return time_kernels(shape, kernels, None, cpu, torch.float16, lambda call: 1.0)


def _repair_interpreter() -> None:
    """Repairs the interpreter: it stores bfloat16 as 16-bit integers, and multiplies matrices of those integers."""
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    create_dot = InterpreterBuilder.create_dot

    def whole(x: TensorHandle) -> TensorHandle:
        if x.dtype.scalar != tl.bfloat16:
            return x
        return TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def create_dot_of_numbers(self, a, b, *rest):
        return create_dot(self, whole(a), whole(b), *rest)

    InterpreterBuilder.create_dot = create_dot_of_numbers
