# SPDX-License-Identifier: Apache-2.0
"""Captures functions of tensors of fixed shape as CUDA graphs: one launch per call instead of one per kernel.

Does not know what the functions compute. Needs a CUDA device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

WARM_UP_CALLS = 3  # before a capture: libraries choose kernels and allocate their workspaces

Function = Callable[..., tuple[torch.Tensor, ...]]


class _Graph(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Any, ...]
    outputs: tuple[torch.Tensor, ...]


class SharedBuffers:
    """Buffers for inputs. Inputs of the same name share one buffer: request the largest first."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, int], torch.Tensor] = {}

    def like(self, name: tuple[str, int], value: torch.Tensor) -> torch.Tensor:
        """A copy of `value` in the buffer of this name, with the same shape and memory format."""
        flat = self._flat.get(name)
        if flat is None or flat.numel() < value.numel() or flat.dtype != value.dtype:
            flat = self._flat[name] = torch.empty(value.numel(), dtype=value.dtype, device=value.device)
        stride = torch.empty_like(value, device="meta").stride()
        return flat.as_strided(value.shape, stride).copy_(value)


class CudaGraphs:
    """CUDA graphs, by the name of a function and the shapes of its inputs.

    All graphs share input buffers and memory: one runs at a time, and its results are copied out before the next one.
    Capture the largest shapes first, so that smaller ones use their buffers.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[tuple[Any, ...], _Graph] = {}
        self._buffers = SharedBuffers()
        self._one_at_a_time = threading.Lock()

    def __len__(self) -> int:
        return len(self._graphs)

    def has(self, name: str, inputs: tuple[Any, ...]) -> bool:
        """True if the function was captured for inputs of these shapes and types."""
        return _key(name, inputs) in self._graphs

    def capture(self, name: str, function: Function, inputs: tuple[Any, ...]) -> None:
        """Capture ``function(*inputs)``; inputs that are not tensors become constants of the graph."""
        kept = tuple(
            self._buffers.like((name, index), value) if isinstance(value, torch.Tensor) else value
            for index, value in enumerate(inputs)
        )
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP_CALLS):
                    function(*kept)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # thread_local: other threads may use CUDA meanwhile; only calls of this one are captured and checked.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                outputs = function(*kept)
        self._graphs[_key(name, inputs)] = _Graph(graph, kept, outputs)

    def run(self, name: str, inputs: tuple[Any, ...]) -> tuple[torch.Tensor, ...]:
        """Copy the inputs into the graph's buffers, launch the graph, and return copies of its results."""
        with self._one_at_a_time:
            graph, kept, outputs = self._graphs[_key(name, inputs)]
            for buffer, value in zip(kept, inputs, strict=True):
                if isinstance(value, torch.Tensor):
                    buffer.copy_(value)
            graph.replay()
            return tuple(output.clone() for output in outputs)


def _key(name: str, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (name, *((v.dtype, *v.shape) if isinstance(v, torch.Tensor) else v for v in inputs))
