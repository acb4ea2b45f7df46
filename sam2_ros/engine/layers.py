"""Small layers that several boxes share: the MLP head and LayerNorm over channels of a map.

No model knowledge; names of parameters follow the official checkpoints.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn


class MLP(nn.Module):
    """`depth` linear layers with an activation between them, ``[..., c_in] -> [..., c_out]``."""

    def __init__(self, c_in: int, hidden: int, c_out: int, depth: int, gelu: bool = False) -> None:
        super().__init__()
        widths = [c_in] + [hidden] * (depth - 1) + [c_out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.activation = F.gelu if gelu else F.relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
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
