# SPDX-License-Identifier: Apache-2.0
"""Small layers that several boxes share: linear layers, the MLP head, LayerNorm over channels of a map.

No model knowledge; names of parameters follow the official checkpoints.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import nn

ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu}
# PyTorch's own compiler turns linear layers into this operator of oneDNN; there is no public name for it.
ONE_STEP = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)
ON_X86 = platform.machine() in ("x86_64", "AMD64")
ONE_STEP_TYPES = {torch.float32}
FEED_FORWARD_TOKENS = 1024  # of 2,048 hidden channels: 4 MB in bfloat16
if ONE_STEP is not None and torch.ops.mkldnn._is_mkldnn_bf16_supported():  # not on every x86 CPU
    ONE_STEP_TYPES.add(torch.bfloat16)


_plain = ContextVar("plain_operators", default=False)


@contextmanager
def plain_operators() -> Iterator[None]:
    """Compute by PyTorch's plain operators alone, in this thread: to record them, and as the reference of kernels."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Whether this is within `plain_operators`."""
    return not torch.compiler.is_compiling() and _plain.get()


def eager_on_cpu(*tensors: torch.Tensor) -> bool:
    """Whether kernels of a CPU may compute with these tensors: no gradients, no compiler, no `plain_operators`."""
    if torch.compiler.is_compiling() or _plain.get():
        return False
    return all(tensor.device.type == "cpu" and not tensor.requires_grad for tensor in tensors)


def computed_dtype(x: torch.Tensor) -> torch.dtype:
    """What layers on a CPU compute `x` in: autocast's type, or its own."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, activation: str = "none"
) -> torch.Tensor:
    """A linear layer and one of `ACTIVATIONS` behind it: one step in inference on a CPU.

    PyTorch's own first fills the output with the bias, and writes it anew for the activation: on a CPU with AMX that
    takes longer than the product.

    Args:
        x: ``[..., c_in]``.
        weight: ``[c_out, c_in]``.
        bias: ``[c_out]``.

    Returns:
        ``[..., c_out]``.
    """
    if ONE_STEP is not None and _in_one_step(x, weight):
        return ONE_STEP(x.to(weight.dtype), weight, bias, activation, [], "none")
    return ACTIVATIONS[activation](F.linear(x, weight, bias))


def _in_one_step(x: torch.Tensor, weight: torch.Tensor) -> bool:
    if not ON_X86 or not eager_on_cpu(x, weight):
        return False
    # Other weights autocast would convert: `Sam2Model.for_inference` has not been called.
    return weight.dtype == computed_dtype(x) and weight.dtype in ONE_STEP_TYPES


class Linear(nn.Linear):
    """As PyTorch's, by `linear`."""

    def forward(self, x: torch.Tensor, activation: str = "none") -> torch.Tensor:
        return linear(x, self.weight, self.bias, activation)


def feed_forward(x_bnc: torch.Tensor, first: Linear, second: Linear) -> torch.Tensor:
    """``second(relu(first(x)))``; on a CPU some tokens at a time, whose hidden layer stays in the cache."""
    if not eager_on_cpu(x_bnc):
        return second(first(x_bnc, "relu"))
    pieces = x_bnc.split(FEED_FORWARD_TOKENS, dim=1)
    return torch.cat([second(first(piece, "relu")) for piece in pieces], dim=1)


class MLP(nn.Module):
    """`depth` linear layers with an activation between them, ``[..., c_in] -> [..., c_out]``."""

    def __init__(self, c_in: int, hidden: int, c_out: int, depth: int, gelu: bool = False) -> None:
        super().__init__()
        widths = [c_in] + [hidden] * (depth - 1) + [c_out]
        self.layers = nn.ModuleList(Linear(a, b) for a, b in itertools.pairwise(widths))
        self.activation = "gelu" if gelu else "relu"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = layer(x, self.activation)
        return self.layers[-1](x)


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of ``[b, c, h, w]``, each pixel by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Not taken from a tensor: a traced graph then has it as a constant.
        self.shape = (channels,)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        x = x_bchw.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.shape, self.weight, self.bias, 1e-6)
        return x.permute(0, 3, 1, 2)
