# SPDX-License-Identifier: Apache-2.0
"""Dense matching memory: copies an object's mask from past frames to the cells that look alike, at stride 8.

Reading is attention of one head with masks as values. Cells of prompted frames are matched everywhere, cells of recent
frames within a window. Does not know how frames are stored. (Matching of pixels for video segmentation: STM, arXiv
1904.00607; the mask as value: arXiv 2004.07193.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from sam2_ros.engine.kernels.attention import NOT_THERE
from sam2_ros.engine.kernels.layers import LayerNorm2d

FIRST_SCALE = 20.0  # initial factor from cosine to logit
FIRST_FALLOFF = 0.005  # initial loss of a logit per square cell of distance, within the window
QUERY_ROWS = 8  # rows of the grid that are matched at a time: their scores stay in the cache
NOTHING = 1e-9  # added to sums of weights: where no frame is there, the mask is empty
LOG_SCALE = 0.125  # brings logarithms of sums of weights into the range of the other evidence
EVIDENCE = 6  # channels of `Matching.read`


@dataclass(frozen=True)
class MatchingConfig:
    """Sizes of the matching memory.

    Attributes:
        channels: of a key.
        recents: recent frames that are kept, in addition to the prompted ones.
        radius: of the window in which recent frames are searched, cells in each direction.
        hidden: channels between the evidence and the mask decoder.
    """

    channels: int = 64
    recents: int = 3
    radius: int = 10
    hidden: int = 32


class MatchFrames(NamedTuple):
    """f past frames with the masks of b objects; n = cells of the grid at stride 8."""

    keys_fnc: torch.Tensor  # [f, n, c] unit vectors
    values_bfn: torch.Tensor  # [b, f, n] share of each cell that the object covers, 0..1
    valid_bf: torch.Tensor  # [b, f] 1 = the object's mask on this frame is known, else 0


class MatchView(NamedTuple):
    """The frames that are matched to the current one."""

    prompted: MatchFrames
    recent: MatchFrames


class DenseEvidence(NamedTuple):
    """What the mask decoder adds to its inputs, for b objects."""

    s16: torch.Tensor  # [b, d_model, side, side]
    s8: torch.Tensor  # [b, d_model / 4, 2 side, 2 side]
    s4: torch.Tensor  # [b, d_model / 8, 4 side, 4 side]


class Matching(nn.Module):
    """Keys of a frame, the masks that past frames give to its cells, and their embedding for the mask decoder."""

    def __init__(self, config: MatchingConfig, channels: tuple[int, ...], d_model: int) -> None:
        """`channels`: of the image encoder's maps."""
        super().__init__()
        self.radius = config.radius
        self.key_s8 = nn.Conv2d(channels[1], config.channels, 1)
        self.key_s16 = nn.Conv2d(channels[2], config.channels, 1)
        self.scale = nn.Parameter(torch.full((2,), FIRST_SCALE))  # of prompted and of recent frames
        self.falloff = nn.Parameter(torch.tensor(FIRST_FALLOFF))
        self.embed = nn.Sequential(
            nn.Conv2d(EVIDENCE, config.hidden, 3, padding=1),
            LayerNorm2d(config.hidden),
            nn.GELU(),
            nn.Conv2d(config.hidden, config.hidden, 3, padding=1),
            nn.GELU(),
        )
        self.to_s16 = nn.Conv2d(config.hidden, d_model, 2, stride=2)
        self.to_s8 = nn.Conv2d(config.hidden, d_model // 4, 1)
        self.to_s4 = nn.Conv2d(config.hidden, d_model // 8, 1)
        for last in (self.to_s16, self.to_s8, self.to_s4):  # a model without it decodes the same at first
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def keys(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Keys of the cells, unit vectors ``[b, n, c]``, from the encoder's maps at strides 8 and 16."""
        s8, s16 = self.key_s8(maps[1]), self.key_s16(maps[2])
        up = F.interpolate(s16.float(), size=s8.shape[-2:], mode="bilinear", align_corners=False)
        return F.normalize(s8.float() + up, dim=1).flatten(2).transpose(1, 2)

    def read(self, keys_nc: torch.Tensor, view: MatchView) -> torch.Tensor:
        """Match the cells of the current frame to those of past frames.

        Args:
            keys_nc: ``[n, c]``, keys of the current frame.
            view: past frames of b objects.

        Returns:
            ``[b, 6, side, side]`` float32, for every cell: the mask by all frames, by prompted and by recent ones, the
            strongest mask of another object, -1..1 each, and how much of the prompted and of the recent frames looks
            like the cell.
        """
        far, far_weight = self._mix(keys_nc, view.prompted, self.scale[0], None)
        near, near_weight = self._mix(keys_nc, view.recent, self.scale[1], self.falloff)
        both = (far + near) / (far_weight + near_weight + NOTHING)
        evidence = [both, far / (far_weight + NOTHING), near / (near_weight + NOTHING), _rivals(both)]
        amounts = [LOG_SCALE * (weight + NOTHING).log() for weight in (far_weight, near_weight)]
        side = _side(len(keys_nc))
        return torch.stack([*(2 * share - 1 for share in evidence), *amounts], dim=1).unflatten(
            2, (side, side)
        )

    def embedding(self, evidence_b6hw: torch.Tensor) -> DenseEvidence:
        """What the mask decoder adds to its inputs at strides 16, 8 and 4."""
        x = self.embed(evidence_b6hw)
        s4 = F.interpolate(self.to_s4(x).float(), scale_factor=2.0, mode="bilinear", align_corners=False)
        return DenseEvidence(self.to_s16(x), self.to_s8(x), s4)

    def _mix(
        self,
        keys_nc: torch.Tensor,
        frames: MatchFrames,
        scale: torch.Tensor,
        falloff: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums over cells of past frames of weight x mask, and of the weights, ``[b, n]`` float32 each.

        A weight is ``exp(scale * (cosine - 1))``: at most 1, so that no maximum has to be found, and frames add up.

        Args:
            falloff: of a logit with the square of the distance; None = search the whole frame.
        """
        n, side = len(keys_nc), _side(len(keys_nc))
        one = keys_nc.new_ones(n, 1)
        queries = torch.cat([scale * keys_nc, -scale * one], dim=1)
        of_frames = []
        for f, keys in enumerate(frames.keys_fnc):
            valid = frames.valid_bf[:, f].to(keys_nc.dtype)
            values = torch.cat([(frames.values_bfn[:, f].t() * valid).to(one), one], dim=1)
            of_frames.append((torch.cat([keys.to(one), one], dim=1), values, valid))
        b = len(frames.valid_bf)
        mixed, weighed = [], []
        for first in range(0, side, QUERY_ROWS):
            rows = slice(first * side, min(first + QUERY_ROWS, side) * side)
            columns, bias = slice(0, n), None
            if falloff is not None:
                window = _window(side, self.radius, first, keys_nc.device)
                columns = slice(*window.columns)
                bias = window.outside - falloff * window.squares
            mix = keys_nc.new_zeros(len(queries[rows]), b)
            weight = torch.zeros_like(mix)
            for keys, values, valid in of_frames:
                scores = queries[rows] @ keys[columns].t()
                shares = (scores if bias is None else scores + bias).exp() @ values[columns]
                mix = mix + shares[:, :b]
                weight = weight + shares[:, b:] * valid
            mixed.append(mix)
            weighed.append(weight)
        return torch.cat(mixed).t(), torch.cat(weighed).t()


class _Window(NamedTuple):
    """For some rows of queries: the cells that may be in their windows, and where they are."""

    columns: tuple[int, int]  # first cell, and the one after the last
    squares: torch.Tensor  # [queries, cells] squared distance, cells
    outside: torch.Tensor  # [queries, cells] 0 within the window, else `NOT_THERE`


@lru_cache(64)
@torch.inference_mode(False)
def _window(side: int, radius: int, first_row: int, device: torch.device) -> _Window:
    rows = torch.arange(first_row, min(first_row + QUERY_ROWS, side), device=device)
    first, last = max(0, int(rows[0]) - radius), min(side, int(rows[-1]) + radius + 1)
    every = torch.arange(side, device=device)
    dy = (rows[:, None, None, None] - every[first:last, None]).expand(-1, side, -1, side)
    dx = (every[:, None, None] - every).expand(len(rows), side, last - first, side)
    shape = (len(rows) * side, (last - first) * side)
    squares = (dy**2 + dx**2).reshape(shape).float()
    outside = NOT_THERE * ((dy.abs() > radius) | (dx.abs() > radius)).reshape(shape).float()
    return _Window((first * side, last * side), squares, outside)


def _rivals(share_bn: torch.Tensor) -> torch.Tensor:
    """For every object the largest share of another one; 0 if it is alone."""
    if len(share_bn) == 1:
        return torch.zeros_like(share_bn)
    largest, owner = share_bn.max(dim=0)
    own = owner == torch.arange(len(share_bn), device=share_bn.device)[:, None]
    second = share_bn.masked_fill(own, 0.0).amax(dim=0)
    return torch.where(own, second, largest)


def _side(n: int) -> int:
    return int(n**0.5 + 0.5)
