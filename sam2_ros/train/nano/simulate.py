# SPDX-License-Identifier: Apache-2.0
"""Simulates prompts and memories for nano: kinds of prompts, true memories, long occlusions and wrong masks.

Does not know the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from sam2_ros.train.data.batch import ClipBatch

KINDS = ("box", "click", "mask")
KIND_SHARES = (0.45, 0.2, 0.35)
OCCLUSION_PROBABILITY = 0.9
LONGEST_OCCLUSION = 120  # frames; pointers reach back 15, recent memories 6, the prompted frame without limit
LOST_SHARE = 0.3
CORRUPTED_SHARE = 0.5


class LongOcclusion(NamedTuple):
    """One frame stored in memory many times, as if nothing had changed for that long.

    A clip of a few frames then ends with a memory in which an object has been hidden for seconds. The model can find
    it again only by its appearance on the prompted frame.
    """

    frame: int
    times: int
    lost_m: torch.Tensor  # [m] bool: stored as absent, even if visible

    def to(self, device: torch.device) -> LongOcclusion:
        return self._replace(lost_m=self.lost_m.to(device))


class MaskCorruption(NamedTuple):
    """Objects whose mask in memory is wrong from some frame on.

    A tracker's error enters its memory, and after a few frames all recent memories contain it. The model learns to find
    the prompted object despite such a memory, so that the tracker recovers.
    """

    first_frame: int
    merged_m: torch.Tensor  # [m] bool: stored together with object `other_m`
    other_m: torch.Tensor  # [m] index of another object of the clip
    cut_m: torch.Tensor  # [m] bool: stored without the part on one side of its middle
    side_m2: torch.Tensor  # [m, 2] direction of that side, a unit vector

    def to(self, device: torch.device) -> MaskCorruption:
        return MaskCorruption(self.first_frame, *(tensor.to(device) for tensor in self[1:]))

    def remembered(self, frame: int, logits_m1hw: torch.Tensor) -> torch.Tensor:
        """The mask that is stored in memory instead of the predicted one, ``[m, 1, h, w]`` logits."""
        if frame < self.first_frame:
            return logits_m1hw
        height, width = logits_m1hw.shape[-2:]
        rows, columns = (torch.arange(n, device=logits_m1hw.device) + 0.5 for n in (height, width))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        inside = (logits_m1hw > 0).float()
        area = inside.sum(dim=(2, 3)).clamp(min=1)
        along = self.side_m2[:, 0, None, None] * x + self.side_m2[:, 1, None, None] * y
        middle = (inside[:, 0] * along).sum(dim=(1, 2)) / area[:, 0]
        gone = self.cut_m[:, None, None] & (along > middle[:, None, None])
        both = torch.maximum(logits_m1hw, logits_m1hw[self.other_m])
        merged = torch.where(self.merged_m.view(-1, 1, 1, 1), both, logits_m1hw)
        return torch.where(gone[:, None], merged.clamp(max=-10.0), merged)


@dataclass(frozen=True)
class SimulatedMemory:
    """A `MemoryEdit`: true masks for some objects, wrong ones for others, and a long occlusion.

    Attributes:
        true_m: ``[m]`` bool: objects whose memories are made from the true mask.
        true_prompt: the memory of the first frame is made from the true masks of all objects.
    """

    batch: ClipBatch
    true_m: torch.Tensor
    true_prompt: bool = False
    occlusion: LongOcclusion | None = None
    corruption: MaskCorruption | None = None

    def times(self, frame: int) -> range:
        occlusion = self.occlusion
        if occlusion is None or frame < occlusion.frame:
            return range(frame, frame + 1)
        last = frame + occlusion.times - 1
        return range(frame if frame == occlusion.frame else last, last + 1)

    def __call__(
        self, frame: int, logits_m1hw: torch.Tensor, presence_m: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        true = torch.ones_like(self.true_m) if self.true_prompt and frame == 0 else self.true_m
        true_logits = torch.logit(self.batch.cover_tmhw[frame][:, None], eps=1e-4)
        logits = torch.where(true.view(-1, 1, 1, 1), true_logits, logits_m1hw)
        presence = torch.where(true, self.batch.visible_tm[frame].float() * 20 - 10, presence_m)
        if self.corruption is not None:
            logits = self.corruption.remembered(frame, logits)
        if self.occlusion is not None and frame == self.occlusion.frame:
            presence = torch.where(self.occlusion.lost_m, -10.0, presence)
        return logits, presence


def draw_corruption(rng: np.random.Generator, frames: int, clips: int, objects: int) -> MaskCorruption | None:
    """Random corruptions, half merged and half cut; None for fewer than three frames or two objects."""
    if frames < 3 or objects < 2:
        return None
    count = clips * objects
    share = rng.random(count)
    angle = rng.uniform(0, 2 * np.pi, count)
    clip, place = np.divmod(np.arange(count), objects)
    other = clip * objects + (place + rng.integers(1, objects, count)) % objects
    return MaskCorruption(
        int(rng.integers(1, frames - 1)),
        torch.from_numpy(share < CORRUPTED_SHARE / 2),
        torch.from_numpy(other),
        torch.from_numpy((share >= CORRUPTED_SHARE / 2) & (share < CORRUPTED_SHARE)),
        torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)], axis=1)).float(),
    )


def draw_kind(rng: np.random.Generator) -> str:
    return str(rng.choice(KINDS, p=KIND_SHARES))


def draw_occlusion(rng: np.random.Generator, visible_tm: torch.Tensor) -> LongOcclusion | None:
    """A random occlusion on the frame with most hidden objects; sometimes, and below three frames always, None."""
    middle = visible_tm[1:-1]
    if not len(middle) or rng.random() >= OCCLUSION_PROBABILITY:
        return None
    hidden = (~middle).sum(dim=1).numpy() + 0.5 * rng.random(len(middle))
    lost = torch.from_numpy(rng.random(visible_tm.shape[1]) < LOST_SHARE)
    times = int(np.exp(rng.uniform(np.log(2), np.log(LONGEST_OCCLUSION))))
    return LongOcclusion(1 + int(hidden.argmax()), times, lost)
