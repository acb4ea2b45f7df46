# SPDX-License-Identifier: Apache-2.0
"""The feature pyramid between the image encoder's trunk and the rest of the model (SAM 2 paper, section 4).

Projects features at strides 4, 8 and 16 to one width. Does not know what they are used for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn


class Lateral(nn.Module):
    """1 x 1 convolution; a module because the checkpoints name it `convs.N.conv`."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        return self.conv(x_bchw)


class Neck(nn.Module):
    """Three or four trunk maps -> three maps of `d_model` channels at strides 4, 8, 16.

    Stride 32, if there is one, is upsampled by nearest neighbour and added to stride 16; the other maps are projected
    only.
    """

    def __init__(self, channels: Sequence[int], d_model: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Lateral(c, d_model) for c in reversed(channels))

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        return [self.lateral(0)(maps[0]), self.lateral(1)(maps[1]), self.s16(maps)]

    def s16(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Features at stride 16, ``[b, d_model, side, side]``, with those of stride 32 added."""
        s16 = self.lateral(2)(maps[2])
        if len(maps) == 3:
            return s16
        s32 = self.lateral(3)(maps[3])
        return s16 + F.interpolate(s32.float(), scale_factor=2.0, mode="nearest").to(s16.dtype)

    def lateral(self, level: int) -> nn.Conv2d:
        """The convolution of one trunk map; level 0 is stride 4."""
        return cast(Lateral, self.convs[len(self.convs) - 1 - level]).conv

    def replace_lateral(self, level: int, conv: nn.Conv2d) -> None:
        """Replace the convolution of one trunk map."""
        cast(Lateral, self.convs[len(self.convs) - 1 - level]).conv = conv
