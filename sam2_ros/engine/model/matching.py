# SPDX-License-Identifier: Apache-2.0
"""Dense matching memory: copies an object's mask from past frames to the cells that look alike, at stride 8.

Reading is attention of one head with masks as values: everywhere in prompted frames, within windows in recent ones.
Does not know how frames are stored. (Matching of all cells in video segmentation: STM, arXiv 1904.00607.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from sam2_ros.engine.kernels.cell_matching import Falloff, matching_sums
from sam2_ros.engine.kernels.layers import LayerNorm2d

FIRST_SCALE = 20.0  # initial factor from cosine to logit
FIRST_FALLOFF = 0.02  # initial loss of a logit per square cell of distance, within the window
NOTHING = 1e-9  # added to sums of weights: where no frame is there, the mask is empty
LOG_SCALE = 0.125  # brings logarithms of sums of weights into the range of the other evidence
EVIDENCE = 6  # channels of `Matching.read`


@dataclass(frozen=True)
class MatchingConfig:
    """Sizes of the matching memory.

    Attributes:
        channels: of a key.
        recents: recent frames that are kept, in addition to the prompted ones.
        radius: of the windows in which recent frames are searched, see `kernels.cell_matching.Falloff`.
        hidden: channels between the evidence and the mask decoder.
    """

    channels: int = 64
    recents: int = 2
    radius: int = 8
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


class Found(NamedTuple):
    """Sums over the cells of past frames, for b objects and each of n cells."""

    covered_bn: torch.Tensor  # [b, n] float32, of weight x mask
    weights_bn: torch.Tensor  # [b, n] float32, of the weights


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
        self.log_falloff = nn.Parameter(torch.tensor(math.log(FIRST_FALLOFF)))
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
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

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
        return evidence_from(
            self._mix(keys_nc, view.prompted, recent=False), self._mix(keys_nc, view.recent, recent=True)
        )

    def embedding(self, evidence_b6hw: torch.Tensor) -> DenseEvidence:
        """What the mask decoder adds to its inputs at strides 16, 8 and 4."""
        x = self.embed(evidence_b6hw)
        s4 = F.interpolate(self.to_s4(x).float(), scale_factor=2.0, mode="bilinear", align_corners=False)
        return DenseEvidence(self.to_s16(x), self.to_s8(x), s4)

    def sums(
        self, keys_nc: torch.Tensor, past_keys_fnc: torch.Tensor, values_fnv: torch.Tensor, recent: bool
    ) -> torch.Tensor:
        """Sums of weight x value over the cells of past frames, see `matching_sums`: ``[n, v]`` float32."""
        window = Falloff(self.log_falloff.float().exp(), self.radius) if recent else None
        return matching_sums(keys_nc, past_keys_fnc, values_fnv, self.scale[int(recent)].float(), window)

    def _mix(self, keys_nc: torch.Tensor, frames: MatchFrames, recent: bool) -> Found:
        b, f, n = frames.values_bfn.shape
        valid = frames.valid_bf[..., None].to(keys_nc.dtype).expand(b, f, n)
        columns = torch.cat([frames.values_bfn.to(keys_nc.dtype) * valid, valid]).permute(1, 2, 0)
        sums = self.sums(keys_nc, frames.keys_fnc, columns, recent)
        return Found(sums[:, :b].t(), sums[:, b:].t())


def evidence_from(far: Found, near: Found) -> torch.Tensor:
    """The result of `Matching.read` from what was found in prompted and in recent frames."""
    weights = far.weights_bn, near.weights_bn
    both = (far.covered_bn + near.covered_bn) / (sum(weights) + NOTHING)
    each = [found.covered_bn / (found.weights_bn + NOTHING) for found in (far, near)]
    shares = [2 * share - 1 for share in (both, *each, _rivals(both))]
    amounts = [LOG_SCALE * (weight + NOTHING).log() for weight in weights]
    side = math.isqrt(both.shape[1])
    return torch.stack([*shares, *amounts], dim=1).unflatten(2, (side, side))


def _rivals(share_bn: torch.Tensor) -> torch.Tensor:
    """For every object the largest share of another one; 0 if it is alone."""
    if len(share_bn) == 1:
        return torch.zeros_like(share_bn)
    largest, owner = share_bn.max(dim=0)
    own = owner == torch.arange(len(share_bn), device=share_bn.device)[:, None]
    second = share_bn.masked_fill(own, 0.0).amax(dim=0)
    return torch.where(own, second, largest)
