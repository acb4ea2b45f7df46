# SPDX-License-Identifier: Apache-2.0
"""Chooses the attention kernels of a GPU: times them there once, when a model is loaded.

Afterwards a choice is looked up, which a CUDA graph and a compiler can take in. Does not know what a kernel is made of.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F

from sam2_ros.errors import UserError

from .gpu import CUDNN, FEW, KERNELS, PROJECTED, Gpu, Kernel, Shape, candidates, run_kernel

ROUNDS = 3  # turns of each kernel
CALLS = 2  # in a turn
MARGIN = 0.03  # what a kernel must be faster by than the one that is preferred to it
PYTORCHS = "PyTorch's choice"
TOLERANCE = 0.02  # rms of a kernel's error over that of the answer; in bfloat16 rounding is under 0.005

_log = logging.getLogger(__name__)

Clock = Callable[[Callable[[], object]], float]


class Measured(NamedTuple):
    """Seconds of a call by kernel, in the order of preference, and why others are not among them."""

    seconds: dict[Kernel, float]
    left_out: dict[Kernel, str]

    def winner(self, without: str = "") -> Kernel | None:
        """The first one, unless the one with the least time takes less by `MARGIN`; None where none runs."""
        seconds = {kernel: time for kernel, time in self.seconds.items() if kernel.name != without}
        if not seconds:
            return None
        first, best = next(iter(seconds)), min(seconds, key=lambda kernel: seconds[kernel])
        return best if seconds[best] < (1 - MARGIN) * seconds[first] else first

    def __str__(self) -> str:
        times = [f"{kernel} {seconds * 1e3:.3f} ms" for kernel, seconds in self.seconds.items()]
        reasons = [f"not {kernel}: {reason}" for kernel, reason in self.left_out.items()]
        return f"{self.winner() or PYTORCHS} ({'; '.join(times + reasons)})"


def time_in_turns(
    calls: Mapping[Kernel, Callable[[], torch.Tensor]], expected: torch.Tensor, clock: Clock
) -> Measured:
    """Time the kernels that run and give the expected answer, in turns; each counts by its fastest one.

    Args:
        calls: in the order of preference.
        clock: seconds that a function takes.
    """
    running, left_out = {}, {}
    for kernel, call in calls.items():
        try:
            difference = (call().double() - expected).square().mean().sqrt()
            error = float(difference / expected.double().square().mean().sqrt())
        except Exception as refusal:  # every library has its own for what it does not take
            left_out[kernel] = f"{type(refusal).__name__}: {(str(refusal).splitlines() or [''])[0]}"
            continue
        if error <= TOLERANCE:  # false for what is no number, too
            running[kernel] = call
        else:
            left_out[kernel] = f"its answer is wrong, rms error {error:.2g} of the answer's"
    seconds = dict.fromkeys(running, float("inf"))
    for _ in range(ROUNDS):
        for kernel, call in running.items():
            seconds[kernel] = min(seconds[kernel], clock(call))
    return Measured(seconds, left_out)


class _Use(NamedTuple):
    """What a choice is looked up by."""

    device: torch.device
    dtype: torch.dtype
    channels: int
    value_channels: int
    keys_grow: bool
    is_alone: bool  # in its batch


_chosen: dict[_Use, Kernel | None] = {}  # None: PyTorch chooses
_one_at_a_time = threading.Lock()


def chosen_kernel(q_bhnc: torch.Tensor, keys: int, value_channels: int) -> Kernel | None:
    """The kernel for these sizes; None where PyTorch chooses: small ones, gradients, nothing chosen beforehand."""
    b, _, n, c = q_bhnc.shape
    if torch.is_grad_enabled() or n * keys <= FEW:
        return None
    return _chosen.get(_Use(q_bhnc.device, q_bhnc.dtype, c, value_channels, n != keys, b == 1))


def choose_kernels(shapes: Sequence[Shape], device: torch.device, dtype: torch.dtype, only: str = "") -> None:
    """Choose the kernels for attentions of these shapes on a CUDA device, and say so in one line of the log.

    A fraction of a second, and at the first start on a machine some seconds of Triton's compiler. What was chosen in
    this process before is kept. Not to be called while a CUDA graph is captured.

    Args:
        only: one of `KERNELS`, to be used where it can be whatever was chosen before; empty for the fastest.

    Raises:
        UserError: `only` is none of them, or it can be used for nothing.
    """
    if only and only not in KERNELS:
        raise UserError(f"attention kernel '{only}': expected one of {', '.join(KERNELS)}")
    with _one_at_a_time, torch.inference_mode(), torch.cuda.device(device):
        timer = partial(time_kernels, device=device, dtype=dtype, clock=_clock(device))
        lines = _choose(shapes, device, dtype, _gpu(device), only, timer)
    if lines:
        _log.info("attention on %s in %s, by channels: %s", device, dtype, ", ".join(lines))


def _choose(
    shapes: Sequence[Shape],
    device: torch.device,
    dtype: torch.dtype,
    gpu: Gpu,
    only: str,
    timer: Callable[[Shape, list[Kernel], Kernel | None], Measured],
) -> list[str]:
    """Keep the fastest kernel of each shape; returns what was measured.

    Args:
        timer: what a shape, its kernels, and the kernel that was chosen for projected values of this shape measure as.
    """
    found: dict[_Use, Kernel | None] = {}
    lines = []
    for shape in shapes:
        use = _Use(device, dtype, shape.channels, shape.value_channels, shape.keys_grow, True)
        if use in _chosen and not only:
            continue
        wide = (_chosen | found).get(use._replace(value_channels=shape.channels))
        measured = timer(shape, candidates(shape, dtype, gpu, only), wide)
        found[use] = measured.winner()
        # One object more would be another plan of cuDNN's, made while the stream waits.
        found[use._replace(is_alone=False)] = measured.winner(without=CUDNN)
        lines.append(f"{shape.name}: {measured}")
    if only and not any(kernel is not None and kernel.name == only for kernel in found.values()):
        raise UserError(
            f"attention kernel '{only}' on {device} in {dtype}: expected one that runs there "
            f"({', '.join(lines) or 'this model has small attentions only'}); leave the choice to the timing"
        )
    _chosen.update(found)
    return lines


def kernels_chosen(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """What one object's attentions use, by channels: ``{"256": "flash", "256 over 64": "triton 64x64x4x2"}``."""
    return {
        Shape(1, 1, 2 if use.keys_grow else 1, use.channels, use.value_channels).name: str(kernel or PYTORCHS)
        for use, kernel in list(_chosen.items())
        if (use.device, use.dtype, use.is_alone) == (device, dtype, True)
    }


def _gpu(device: torch.device) -> Gpu:
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    has_triton = importlib.util.find_spec("triton") is not None
    return Gpu(torch.cuda.get_device_capability(device), cudnn or 0, has_triton)


def time_kernels(
    shape: Shape,
    kernels: list[Kernel],
    wide: Kernel | None,
    device: torch.device,
    dtype: torch.dtype,
    clock: Clock,
) -> Measured:
    """Time kernels on random numbers.

    Narrow values are projected after the attention, or before it; then the attention is that of `wide`, or PyTorch's.
    """
    draw = torch.Generator(device).manual_seed(0)

    def random(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=draw, device=device).to(dtype)

    heads, n, m, c, cv = shape
    if heads > 1:  # as the image encoder's one product gives them
        q, k, v = random(1, n, 3, heads, c).transpose(1, 3).unbind(2)
    else:
        q, k, v = random(1, 1, n, c), random(1, 1, m, c), random(1, 1, m, cv)
    if not shape.is_narrow:
        expected = F.scaled_dot_product_attention(q, k, v)
        return time_in_turns(
            {kernel: partial(run_kernel, kernel, q, k, v) for kernel in kernels}, expected, clock
        )
    projection = random(cv, c)
    expected = F.scaled_dot_product_attention(q, k, v @ projection)

    def before() -> torch.Tensor:
        projected = v @ projection
        return (
            F.scaled_dot_product_attention(q, k, projected)
            if wide is None
            else run_kernel(wide, q, k, projected)
        )

    def after(kernel: Kernel) -> torch.Tensor:
        return run_kernel(kernel, q, k, v) @ projection

    calls: dict[Kernel, Callable[[], torch.Tensor]] = {
        kernel: before if kernel == PROJECTED else partial(after, kernel) for kernel in kernels
    }
    return time_in_turns(calls, expected, clock)


def _clock(device: torch.device) -> Clock:
    """Seconds of a call on the device alone: it sleeps for about a millisecond, in which the calls are launched."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def seconds(call: Callable[[], object]) -> float:
        torch.cuda.synchronize(device)
        torch.cuda._sleep(1 << 21)
        begin.record()
        for _ in range(CALLS):
            call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3 / CALLS

    return seconds
