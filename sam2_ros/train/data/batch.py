# SPDX-License-Identifier: Apache-2.0
"""Training clips, and batches of them in the format of the model.

Does not know the source of clips, prompts or losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.engine.preprocess import normalize

MIN_VISIBLE_PX = 8  # at the input's size: half a cell of the mask logits, which have stride 4
CELL_PX = 4  # side of a cell of the mask logits, in input pixels


class FeatureKey(NamedTuple):
    """One frame of a clip: the key of its cached features."""

    sequence: VosSequence
    frame: int
    mirrored: bool


class TrainingClip(NamedTuple):
    """t frames and n objects, all visible on the first frame."""

    frames_thwc: np.ndarray | None  # [t, D, D, 3] uint8; None with cached features
    masks_tnhw: np.ndarray  # [t, n, S, S] bool
    keys: tuple[FeatureKey, ...] = ()


@dataclass(frozen=True)
class ClipBatch:
    """b clips of t frames with m objects in all, clip after clip.

    Attributes:
        images_bt3hw: ``[b, t, 3, D, D]`` normalised; None with cached features.
        masks_tmhw: ``[t, m, S, S]`` bool at the input's size.
        clip_m: ``[m]`` index of each object's clip.
        keys_bt: key of every frame, for cached features.
    """

    images_bt3hw: torch.Tensor | None
    masks_tmhw: torch.Tensor
    clip_m: torch.Tensor
    keys_bt: tuple[tuple[FeatureKey, ...], ...] = ()

    @property
    def frames(self) -> int:
        return len(self.masks_tmhw)

    @property
    def pictures(self) -> torch.Tensor:
        """`images_bt3hw` of a batch without cached features."""
        assert self.images_bt3hw is not None
        return self.images_bt3hw

    @cached_property
    def cover_tmhw(self) -> torch.Tensor:
        """``[t, m, S / 4, S / 4]``: share of each cell that the object covers, 0..1."""
        return F.avg_pool2d(self.masks_tmhw.float(), CELL_PX)

    @cached_property
    def visible_tm(self) -> torch.Tensor:
        """``[t, m]`` bool: at least half a cell is visible. Less cannot be predicted, and would train empty masks."""
        return self.masks_tmhw.flatten(-2).sum(dim=-1) >= MIN_VISIBLE_PX

    def to(self, device: torch.device) -> ClipBatch:
        images = None if self.images_bt3hw is None else self.images_bt3hw.to(device)
        return ClipBatch(images, self.masks_tmhw.to(device), self.clip_m.to(device), self.keys_bt)


def make_batch(clips: Sequence[TrainingClip]) -> ClipBatch:
    """Makes a batch of clips with the same number of frames."""
    masks = torch.from_numpy(np.concatenate([clip.masks_tnhw for clip in clips], axis=1))
    owners = torch.tensor([b for b, clip in enumerate(clips) for _ in range(clip.masks_tnhw.shape[1])])
    images = None
    frames = [clip.frames_thwc for clip in clips if clip.frames_thwc is not None]
    if frames:
        pixels = torch.from_numpy(np.stack(frames))
        images = normalize(pixels.flatten(0, 1).permute(0, 3, 1, 2).float() / 255).unflatten(
            0, pixels.shape[:2]
        )
    return ClipBatch(images, masks, owners, tuple(clip.keys for clip in clips))
