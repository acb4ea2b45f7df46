# SPDX-License-Identifier: Apache-2.0
"""Counts the launches of one call: kernels on a GPU, operations on a CPU.

Knows PyTorch's dispatcher and profiler; does not know what is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

KERNELS, OPERATIONS = "kernels", "operations"
_NO_KERNELS = ("Memcpy", "Memset")
_FREE = {"aten::detach", "aten::empty", "aten::lift_fresh"}
"""Operations that compute nothing, although they are not views by their schema."""


def count_launches(call: Callable[[], object], device: torch.device) -> tuple[int, str]:
    """Runs the call once, and counts its launches.

    Returns:
        The count and its kind: "kernels" that ran on a GPU, without copies; or on a CPU "operations" of the dispatcher
        that are not views. An operation corresponds to about one kernel of an eager GPU run.
    """
    if device.type == "cuda":
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            call()
            torch.cuda.synchronize(device)
        return sum(_is_kernel(event) for event in profiled.events() or ()), KERNELS
    with _Counter() as counter:
        call()
    return counter.count, OPERATIONS


def _is_kernel(event: Any) -> bool:
    on_device = event.device_type == torch.autograd.DeviceType.CUDA
    return on_device and not event.name.startswith(_NO_KERNELS)


class _Counter(TorchDispatchMode):
    """Counts the operations below autograd and autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += not is_view(func)
        return func(*args, **(kwargs or {}))


def is_view(operation: Any) -> bool:
    """True if the operation is a view: its outputs share memory with the inputs, and it writes nothing."""
    if operation._schema.name in _FREE:
        return True
    returned = operation._schema.returns
    return bool(returned) and all(
        value.alias_info is not None and not value.alias_info.is_write for value in returned
    )
