"""The feature pyramid between Hiera and the rest of the model (SAM 2 paper, section 4).

Gives stride-4, 8 and 16 features one width; does not know what they are used for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Lateral(nn.Module):
    """1 x 1 convolution; a module of its own because the checkpoints name it `convs.N.conv`."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        return self.conv(x_bchw)


class Neck(nn.Module):
    """Four trunk maps -> three maps of `d_model` channels at strides 4, 8, 16.

    Only stride 16 receives the level below it (doubled by nearest neighbour); stride 32 itself is dropped.
    """

    def __init__(self, channels: tuple[int, int, int, int], d_model: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Lateral(c, d_model) for c in reversed(channels))

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        s4, s8, s16, s32 = (conv(m) for conv, m in zip(reversed(self.convs), maps, strict=True))
        s16 = s16 + F.interpolate(s32.float(), scale_factor=2.0, mode="nearest").to(s16.dtype)
        return [s4, s8, s16]
