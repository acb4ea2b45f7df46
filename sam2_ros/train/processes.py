# SPDX-License-Identifier: Apache-2.0
"""Training in one process or several (torchrun): ranks, sums over all processes, averaged gradients.

Gradients are averaged once per step, without torch's DistributedDataParallel: clips use different parts of the model,
and gradient checkpointing computes activations twice. Does not know models or clips.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from sam2_ros.errors import UserError

T = TypeVar("T")
TIMEOUT = timedelta(hours=2)  # the others wait while one process validates or encodes


@dataclass(frozen=True)
class ProcessGroup:
    """This process among `count` processes; the process of rank 0 writes the results."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        if self.count > 1:
            dist.barrier()

    def gather(self, value: list[T]) -> list[T]:
        """The lists of all processes, concatenated by rank."""
        if self.count == 1:
            return value
        lists: list[list[T] | None] = [None] * self.count
        dist.all_gather_object(lists, value)
        return [item for part in lists for item in part or []]

    def total(self, value: float) -> float:
        """Sum over the processes."""
        if self.count == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return float(tensor.item())

    def share_weights(self, module: nn.Module) -> None:
        """Copies the weights of rank 0 to all processes."""
        if self.count > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces every gradient by its mean over the processes; it stays None if no process has one."""
        if self.count == 1:
            return
        learning = [p for p in parameters if p.requires_grad]
        used = torch.tensor([p.grad is not None for p in learning], dtype=torch.float32, device=self.device)
        dist.all_reduce(used)
        for parameter, users in zip(learning, used.tolist(), strict=True):
            if users:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.count


@contextmanager
def join_processes(device: str) -> Iterator[ProcessGroup]:
    """Joins the processes that torchrun started; without torchrun, a group of one.

    Args:
        device: auto (the GPU with this process's local rank, else the CPU), cpu, cuda, cuda:N.

    Raises UserError if there is no such device.
    """
    rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if count == 1:
        yield ProcessGroup(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield ProcessGroup(rank, count, chosen)
    finally:
        dist.destroy_process_group()


def _device(name: str, local_rank: int) -> torch.device:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto" and not gpus:
        return torch.device("cpu")
    if name in ("auto", "cuda"):
        name = f"cuda:{local_rank}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device: '{name}' given, auto, cpu, cuda or cuda:N expected") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device: '{name}' given, auto, cpu, cuda or cuda:N expected")
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise UserError(f"device: '{name}' given, but this PyTorch ({torch.__version__}) finds {gpus} GPUs")
    return device
