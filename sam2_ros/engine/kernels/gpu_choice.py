# SPDX-License-Identifier: Apache-2.0
"""Chooses the attention kernels of a GPU by timing them once, when a model is loaded.

Afterwards a choice is a table look-up, which works inside CUDA graphs and a compiler. Does not know how kernels work.
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

from .gpu import CUDNN, KERNELS, PROJECTED, SMALL_ATTENTION, Gpu, Kernel, Shape, candidates, run_kernel

ROUNDS = 3  # rounds in which each kernel is timed once
CALLS = 2  # in one timing
MARGIN = 0.03  # a kernel replaces the preferred one if it takes less time by this fraction
PYTORCHS = "PyTorch's choice"
TOLERANCE = 0.02  # rms error of a kernel over the rms of the result; rounding in bfloat16 is under 0.005

_log = logging.getLogger(__name__)

Clock = Callable[[Callable[[], object]], float]


class Measured(NamedTuple):
    """Timings of the kernels for one shape."""

    seconds: dict[Kernel, float]  # of one call, by kernel, in the order of preference
    left_out: dict[Kernel, str]  # why a kernel cannot be used

    def winner(self, without: str = "") -> Kernel | None:
        """The preferred kernel, unless the fastest takes less time by `MARGIN`; None if no kernel runs.

        `without`: name of a kernel to leave out.
        """
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
    """Time the kernels that run and give the expected result, in turns; the fastest timing of each counts.

    Args:
        calls: one call by kernel, in the order of preference.
        expected: the correct result.
        clock: returns the seconds that a function takes.
    """
    running, left_out = {}, {}
    for kernel, call in calls.items():
        try:
            difference = (call().double() - expected).square().mean().sqrt()
            error = float(difference / expected.double().square().mean().sqrt())
        except Exception as refusal:  # each library raises its own for shapes that it does not support
            left_out[kernel] = f"{type(refusal).__name__}: {(str(refusal).splitlines() or [''])[0]}"
            continue
        if error <= TOLERANCE:  # False for NaN, too
            running[kernel] = call
        else:
            left_out[kernel] = f"its result is wrong, rms error {error:.2g} of the result's"
    seconds = dict.fromkeys(running, float("inf"))
    for _ in range(ROUNDS):
        for kernel, call in running.items():
            seconds[kernel] = min(seconds[kernel], clock(call))
    return Measured(seconds, left_out)


class _Use(NamedTuple):
    """The key under which a choice is stored."""

    device: torch.device
    dtype: torch.dtype
    channels: int
    value_channels: int
    keys_grow: bool
    is_alone: bool  # batch 1


_chosen: dict[_Use, Kernel | None] = {}  # None: PyTorch chooses
_one_at_a_time = threading.Lock()


def chosen_kernel(q_bhnc: torch.Tensor, keys: int, value_channels: int) -> Kernel | None:
    """The kernel chosen for these sizes; None = PyTorch chooses: small attentions, gradients, or not timed."""
    b, _, n, c = q_bhnc.shape
    if torch.is_grad_enabled() or n * keys <= SMALL_ATTENTION:
        return None
    return _chosen.get(_Use(q_bhnc.device, q_bhnc.dtype, c, value_channels, n != keys, b == 1))


def choose_kernels(shapes: Sequence[Shape], device: torch.device, dtype: torch.dtype, only: str = "") -> None:
    """Choose the kernels for attentions of these shapes on a CUDA device, and log the choice in one line.

    Takes a fraction of a second, and some seconds of Triton's compiler at the first start on a machine. Earlier choices
    of this process are kept. Not to be called while a CUDA graph is captured.

    Args:
        shapes: of the attentions.
        device: the CUDA device.
        dtype: of queries, keys and values.
        only: use this one of `KERNELS` wherever it runs, whatever was chosen before; empty = the fastest.

    Raises:
        UserError: `only` is not one of `KERNELS`, or runs for none of the shapes.
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
    """Store the fastest kernel of each shape; returns the measurements as text, for the log.

    Args:
        timer: measures the kernels of a shape; its third argument is the kernel chosen for projected values.
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
        # Not cuDNN for several objects: each new number would need a new plan while the stream waits.
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
    """The kernels for one object, by channels: ``{"256": "flash", "256 over 64": "triton 64x64x4x2"}``."""
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

    For narrow values the projection is timed, too: after the attention; or with `PROJECTED` before it, whose attention
    is then computed by the kernel `wide`, or by PyTorch's choice.
    """
    draw = torch.Generator(device).manual_seed(0)

    def random(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=draw, device=device).to(dtype)

    heads, n, m, c, cv = shape
    if heads > 1:  # in the layout of the image encoder, which computes q, k and v by one product
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
    """Seconds of a call on the device alone: the device first sleeps for about a millisecond while calls are queued."""
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
