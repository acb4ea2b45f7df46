# SPDX-License-Identifier: Apache-2.0
"""Prompt encoder: encodes points and boxes as tokens, and a mask as a dense map (SAM paper, section A).

Knows pixels of the model's input. Does not know the frame on which a prompt was made.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.kernels.layers import LayerNorm2d

NEGATIVE, POSITIVE, BOX_MIN, BOX_MAX, PADDING = 0, 1, 2, 3, -1  # labels of points
INSIDE_BOX, OUTSIDE_BOX, CLICKED = (
    3.0,
    -10.0,
    10.0,
)  # logits of a drawn prompt; a negative click has the opposite sign
CLICK_RADIUS = 2.0  # of a drawn click, cells at stride 4
BOX_MARGIN = 0.05  # of the side of a box: so far beyond it may its mask reach


class FourierPosition(nn.Module):
    """Random Fourier features of positions in 0..1 (arXiv 2006.10739)."""

    positional_encoding_gaussian_matrix: torch.Tensor

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, d_model // 2))

    def forward(self, xy: torch.Tensor) -> torch.Tensor:
        """Encode positions: ``[..., 2]``, (x, y) in 0..1 -> ``[..., d_model]``."""
        angle = 2 * math.pi * ((2 * xy - 1) @ self.positional_encoding_gaussian_matrix.to(xy.dtype))
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def grid(self, side: int) -> torch.Tensor:
        """Encode the cell centres of a square grid: ``[1, d_model, side, side]``."""
        centres = (torch.arange(side, device=self.positional_encoding_gaussian_matrix.device) + 0.5) / side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return self(torch.stack([x, y], dim=-1)).permute(2, 0, 1)[None]


class PromptEncoder(nn.Module):
    """Sparse tokens for points and box corners, and a dense map for a mask."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.image_size = config.image_size
        self.grid_side = config.grid
        self.pe_layer = FourierPosition(d)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, d) for _ in range(4))  # by label
        self.not_a_point_embed = nn.Embedding(1, d)
        self.no_mask_embed = nn.Embedding(1, d)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, stride=2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, d, 1),
        )

    def sparse(self, points_bn2: torch.Tensor, labels_bn: torch.Tensor) -> torch.Tensor:
        """Encode points and box corners as tokens, and append one padding token.

        Args:
            points_bn2: ``[b, n, 2]``, (x, y) in pixels of the model's input.
            labels_bn: ``[b, n]``: `NEGATIVE`, `POSITIVE`, `BOX_MIN`, `BOX_MAX` or `PADDING`.

        Returns:
            ``[b, n + 1, d_model]``; ``[b, 0, d_model]`` if n = 0, as in image mode with only a mask.
        """
        if points_bn2.shape[1] == 0:
            return self.not_a_point_embed.weight.expand(len(points_bn2), -1, -1)[:, :0]
        points = F.pad(points_bn2, (0, 0, 0, 1))
        labels = F.pad(labels_bn, (0, 1), value=PADDING)[..., None]
        place = self.pe_layer((points + 0.5) / self.image_size)
        tokens = torch.where(labels == PADDING, self.not_a_point_embed.weight, place)
        for value, embedding in enumerate(self.point_embeddings):
            tokens = torch.where(labels == value, tokens + cast(nn.Embedding, embedding).weight, tokens)
        return tokens

    def dense(self, logits_b1hw: torch.Tensor | None, batch: int) -> torch.Tensor:
        """Encode mask logits ``[b, 1, 4 side, 4 side]`` as a dense map ``[b, d_model, side, side]``.

        Logits of another size are resized. None = the learned "no mask" map.
        """
        if logits_b1hw is None:
            return self.no_mask_embed.weight.view(1, -1, 1, 1).expand(
                batch, -1, self.grid_side, self.grid_side
            )
        return self.mask_downscaling(self._at_stride_4(logits_b1hw))

    def _at_stride_4(self, logits_b1hw: torch.Tensor) -> torch.Tensor:
        side = 4 * self.grid_side
        if logits_b1hw.shape[-2:] == (side, side):
            return logits_b1hw
        return F.interpolate(
            logits_b1hw.float(), (side, side), mode="bilinear", align_corners=False, antialias=True
        )

    def drawn(
        self, points_bn2: torch.Tensor, labels_bn: torch.Tensor, logits_b1hw: torch.Tensor | None
    ) -> torch.Tensor:
        """Draw clicks and boxes as mask logits at stride 4, for `dense`; small decoders locate maps better than tokens.

        Args:
            points_bn2: as for `sparse`.
            labels_bn: as for `sparse`; at most one box per prompt.
            logits_b1hw: ``[b, 1, h, w]``, an earlier mask, over which clicks are drawn; None = none.

        Returns:
            ``[b, 1, 4 side, 4 side]``: discs of +-`CLICKED` over the earlier mask; without one over 0, or with a box
            over `INSIDE_BOX` in it and `OUTSIDE_BOX` around it.
        """
        side = 4 * self.grid_side
        centres = (torch.arange(side, device=points_bn2.device) + 0.5) * (self.image_size / side)
        x, y = centres.view(1, 1, 1, -1), centres.view(1, 1, -1, 1)
        if logits_b1hw is not None:
            found = self._at_stride_4(logits_b1hw).float()
        else:
            inside = torch.where(self._near_box(points_bn2, labels_bn, 0.0), INSIDE_BOX, OUTSIDE_BOX)
            boxed = (labels_bn == BOX_MIN).any(dim=1)[:, None, None, None]
            found = torch.where(boxed, inside, 0.0)
        points, labels = (points_bn2.float() + 0.5)[..., None, None], labels_bn[..., None, None]
        px, py = points[:, :, 0], points[:, :, 1]
        radius = CLICK_RADIUS * self.image_size / side
        near = (x - px) ** 2 + (y - py) ** 2 <= radius**2
        for label, logit in ((NEGATIVE, -CLICKED), (POSITIVE, CLICKED)):
            found = torch.where((near & (labels == label)).any(dim=1, keepdim=True), logit, found)
        return found

    def within_reach(self, points_bn2: torch.Tensor, labels_bn: torch.Tensor) -> torch.Tensor:
        """Cells at stride 4 that the mask of a prompt may cover: in its box and `BOX_MARGIN` around it.

        Everywhere without a box, and with a positive click beyond that.

        Args:
            points_bn2: as for `sparse`.
            labels_bn: as for `sparse`; at most one box per prompt.

        Returns:
            ``[b, 1, 4 side, 4 side]`` bool.
        """
        low, high = _box_edges(points_bn2, labels_bn, BOX_MARGIN)
        points = points_bn2.float() + 0.5
        beyond = ((points < low) | (points > high)).any(dim=2) & (labels_bn == POSITIVE)
        free = ~(labels_bn == BOX_MIN).any(dim=1) | beyond.any(dim=1)
        return free[:, None, None, None] | self._near_box(points_bn2, labels_bn, BOX_MARGIN)

    def _near_box(self, points_bn2: torch.Tensor, labels_bn: torch.Tensor, margin: float) -> torch.Tensor:
        """Cells at stride 4 whose centres are in the box, see `_box_edges`: ``[b, 1, 4 side, 4 side]`` bool."""
        low, high = _box_edges(points_bn2, labels_bn, margin)
        side = 4 * self.grid_side
        centres = (torch.arange(side, device=low.device) + 0.5) * (self.image_size / side)
        x, y = ((centres >= low[..., axis]) & (centres <= high[..., axis]) for axis in (0, 1))  # [b, side]
        return (y[:, :, None] & x[:, None, :])[:, None]

    def dense_position(self) -> torch.Tensor:
        """Position encoding of the cells of the image embedding: ``[1, d_model, side, side]``."""
        return self.pe_layer.grid(self.grid_side)


def _box_edges(
    points_bn2: torch.Tensor, labels_bn: torch.Tensor, margin: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Corners of each prompt's box, moved outward by `margin` of its sides: ``[b, 1, 2]`` each, (x, y) in pixels."""
    points = points_bn2.float() + 0.5
    low, high = (
        points.mul((labels_bn == label)[..., None]).sum(dim=1, keepdim=True) for label in (BOX_MIN, BOX_MAX)
    )
    reach = margin * (high - low)
    return low - reach, high + reach
