# SPDX-License-Identifier: Apache-2.0
"""Memory encoder: computes a spatial memory from a frame's features and its predicted mask (SAM 2 paper, section 4).

A pure function. Does not know where the memory is stored.
"""

from __future__ import annotations

import torch
from torch import nn

from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.kernels.layers import LayerNorm2d, Linear


class MaskDownsampler(nn.Module):
    """Mask ``[b, 1, S, S]`` -> map ``[b, d_model, side, side]`` at stride 16.

    Four convolutions of stride 2, each with four times the channels, and a 1 x 1 convolution.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        channels = 1
        for _ in range(4):
            conv = nn.Conv2d(channels, 4 * channels, 3, stride=2, padding=1)
            steps += [conv, LayerNorm2d(4 * channels), nn.GELU()]
            channels *= 4
        self.encoder = nn.Sequential(*steps, nn.Conv2d(channels, d_model, 1))

    def forward(self, mask_b1hw: torch.Tensor) -> torch.Tensor:
        return self.encoder(mask_b1hw)


class FuserLayer(nn.Module):
    """ConvNeXt-style block: depth-wise 7 x 7, LayerNorm, two point-wise layers, layer scale, residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(1e-6 * torch.ones(channels))
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.pwconv1 = Linear(channels, 4 * channels)
        self.pwconv2 = Linear(4 * channels, channels)

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.dwconv(x_bchw)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(self.pwconv1(y, "gelu"))
        return x_bchw + y.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """Two `FuserLayer`s."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FuserLayer(channels) for _ in range(2))

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x_bchw = layer(x_bchw)
        return x_bchw


class MemoryEncoder(nn.Module):
    """Features at stride 16 and a mask -> spatial memory ``[b, mem_dim, side, side]``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.mask_downsampler = MaskDownsampler(d)
        self.pix_feat_proj = nn.Conv2d(d, d, 1)
        self.fuser = Fuser(d)
        self.out_proj = nn.Conv2d(d, config.mem_dim, 1)

    def forward(self, feats_bchw: torch.Tensor, mask_b1hw: torch.Tensor) -> torch.Tensor:
        """Encode the memories of b objects.

        Args:
            feats_bchw: ``[1 or b, d_model, side, side]`` features of the frame, before memory attention.
            mask_b1hw: ``[b, 1, S, S]`` masks at the size of the model's input, scaled to -10..10.
        """
        x = self.pix_feat_proj(feats_bchw) + self.mask_downsampler(mask_b1hw)
        return self.out_proj(self.fuser(x))
