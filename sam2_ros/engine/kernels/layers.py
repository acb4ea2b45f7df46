# SPDX-License-Identifier: Apache-2.0
"""Small layers that several modules share: linear layers, MLP, LayerNorm over the channels of a map.

Parameter names are those of the official checkpoints. Does not know the model.
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
# The oneDNN operator into which PyTorch's compiler turns linear layers; it has no public name.
FUSED_LINEAR = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)
ON_X86 = platform.machine() in ("x86_64", "AMD64")
FUSED_LINEAR_TYPES = {torch.float32}
FEED_FORWARD_TOKENS = 1024  # at a time; with 2,048 hidden channels these are 4 MB in bfloat16
if FUSED_LINEAR is not None and torch.ops.mkldnn._is_mkldnn_bf16_supported():  # not on every x86 CPU
    FUSED_LINEAR_TYPES.add(torch.bfloat16)


_plain = ContextVar("plain_operators", default=False)


@contextmanager
def plain_operators() -> Iterator[None]:
    """Use only PyTorch's plain operators in this thread: for tracing, and as the reference of faster kernels."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """True inside `plain_operators`."""
    return not torch.compiler.is_compiling() and _plain.get()


def eager_on_cpu(*tensors: torch.Tensor) -> bool:
    """True if CPU kernels may take these tensors: on the CPU, no gradients, no compiler, no `plain_operators`."""
    if torch.compiler.is_compiling() or _plain.get():
        return False
    return all(tensor.device.type == "cpu" and not tensor.requires_grad for tensor in tensors)


def computed_dtype(x: torch.Tensor) -> torch.dtype:
    """The type in which layers on a CPU compute `x`: autocast's, or its own."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, activation: str = "none"
) -> torch.Tensor:
    """A linear layer followed by one of `ACTIVATIONS`; one fused operator in inference on an x86 CPU.

    PyTorch's linear layer first fills the output with the bias, and the activation writes it again: on a CPU with AMX
    this takes longer than the product.

    Args:
        x: ``[..., c_in]``.
        weight: ``[c_out, c_in]``.
        bias: ``[c_out]``, or None.
        activation: "none", "relu" or "gelu".

    Returns:
        ``[..., c_out]``.
    """
    if FUSED_LINEAR is not None and _takes_fused_linear(x, weight):
        return FUSED_LINEAR(x.to(weight.dtype), weight, bias, activation, [], "none")
    return ACTIVATIONS[activation](F.linear(x, weight, bias))


def _takes_fused_linear(x: torch.Tensor, weight: torch.Tensor) -> bool:
    if not ON_X86 or not eager_on_cpu(x, weight):
        return False
    # Weights of another type need autocast: `Sam2Model.for_inference` has not been called.
    return weight.dtype == computed_dtype(x) and weight.dtype in FUSED_LINEAR_TYPES


class Linear(nn.Linear):
    """`nn.Linear` computed by `linear`, with an optional activation."""

    def forward(self, x: torch.Tensor, activation: str = "none") -> torch.Tensor:
        return linear(x, self.weight, self.bias, activation)


def feed_forward(x_bnc: torch.Tensor, first: Linear, second: Linear) -> torch.Tensor:
    """``second(relu(first(x)))``; on a CPU for some tokens at a time, so that their hidden layer stays in the cache."""
    if not eager_on_cpu(x_bnc):
        return second(first(x_bnc, "relu"))
    pieces = x_bnc.split(FEED_FORWARD_TOKENS, dim=1)
    return torch.cat([second(first(piece, "relu")) for piece in pieces], dim=1)


class MLP(nn.Module):
    """`depth` linear layers with ReLU or GELU between them, ``[..., c_in] -> [..., c_out]``."""

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
    """LayerNorm over the channels of ``[b, c, h, w]``, for each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Not read from a tensor's shape, so that it is a constant in a traced graph.
        self.shape = (channels,)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        x = x_bchw.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.shape, self.weight, self.bias, 1e-6)
        return x.permute(0, 3, 1, 2)
