# SPDX-License-Identifier: Apache-2.0
"""The five hooks of a tracking policy, and what a policy sees of one object on one frame.

Policies have no state of their own: the numbers of an object are in `Track.policy_state`, by policy. Does not know the
tracker or the memory bank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from sam2_ros.engine.model.mask_decoder import DecodedMasks
from sam2_ros.engine.model.sam2 import ImageFeatures, MaskOutput

State = list[float]
"""Numbers of one policy for one object, empty at first; of bounded length."""


@dataclass(frozen=True)
class Arrival:
    """A new frame, before masks are computed: ``[H, W, 3]`` uint8 RGB."""

    frame: int
    image_hw3: np.ndarray

    @cached_property
    def histogram(self) -> np.ndarray:
        """Shares of 8 x 8 x 8 colours, ``[512]`` float32, of every eighth pixel at most."""
        step = max(1, min(self.image_hw3.shape[:2]) // 64)
        bins = self.image_hw3[::step, ::step] >> 5
        index = (bins[..., 0].astype(np.int64) << 6) | (bins[..., 1].astype(np.int64) << 3) | bins[..., 2]
        counts = np.bincount(index.ravel(), minlength=512).astype(np.float32)
        return counts / counts.sum()


@dataclass(frozen=True, eq=False)
class Seen:
    """One object on one frame, after its mask is computed.

    Attributes:
        frame: index of the frame.
        output: its mask, a batch of one.
        features: of the frame.
        presence: object score logit.
        score: predicted IoU.
        prompted: True if it is prompted on this frame: it is written to memory whatever the policies say.
        decoded: all candidates, a batch of one; None if it is prompted.
        evidence: ``[1, 6, 2 side, 2 side]`` of the matching memory, see `Matching.read`; None = the model has none.
        anchors: frames that were promoted before and are still kept, in order.
        look_back: compares this frame with the object's first frame: IoU of the mask that the matching memory finds
            there and the mask that is kept of it; None without a matching memory, or if nothing is kept.
        others: everything that is tracked on this frame, filled afterwards, this object included.
        before: by policy, copies of the object's numbers before this frame.
    """

    frame: int
    output: MaskOutput
    features: ImageFeatures
    presence: float
    score: float
    prompted: bool
    decoded: DecodedMasks | None = None
    evidence: torch.Tensor | None = None
    anchors: tuple[int, ...] = ()
    look_back: Callable[[], float | None] = lambda: None
    others: list[Seen] = field(default_factory=list)
    before: Mapping[str, State] = field(default_factory=dict)

    @property
    def visible(self) -> bool:
        return self.presence > 0 and self.area > 0

    @cached_property
    def mask(self) -> np.ndarray:
        """``[4 side, 4 side]`` bool, low resolution."""
        return np.asarray((self.output.logits_b1hw[0, 0] > 0).cpu().numpy())

    @cached_property
    def area(self) -> int:
        """Cells of `mask`."""
        return int(self.mask.sum())

    @cached_property
    def candidates(self) -> np.ndarray:
        """``[4 or 5, 4 side, 4 side]`` bool: the masks of all candidates; with a matching memory also the cells
        that look like the object on its prompted frames."""
        assert self.decoded is not None
        masks = np.asarray((self.decoded.logits_b4hw[0] > 0).cpu().numpy())
        if self.evidence is None:
            return masks
        alike = np.asarray((self.evidence[0, 1] > 0).cpu().numpy())
        return np.concatenate([masks, alike.repeat(2, 0).repeat(2, 1)[None]])

    @cached_property
    def descriptor(self) -> np.ndarray | None:
        """What the object looks like: unit vector ``[d_model]``, its mean feature less that of the frame; None if no
        cell is the object's."""
        s16 = self.features.s16[0].float()
        mask = torch.from_numpy(self.mask).to(s16.device).float()[None, None]
        share = torch.nn.functional.avg_pool2d(mask, 4)[0, 0]
        if float(share.sum()) < 1e-3:
            return None
        inside = (s16 * share).sum(dim=(1, 2)) / share.sum() - s16.mean(dim=(1, 2))
        return np.asarray(torch.nn.functional.normalize(inside, dim=0).cpu().numpy())


class Policy:
    """A rule with up to five hooks. Each gets the numbers that the policy keeps of the object, to read and change.

    Attributes:
        name: its name in `TrackerConfig.policies`.
        reach: age in frames up to which recent memories count; 0 = as many frames as there are slots, as in SAM 2.
        needs_matching: True if the model needs a matching memory.
        checks_promotions: True: `promote` is called only for frames that another policy promotes.
        compares_objects: True: `Seen.before` has its numbers.
    """

    name = ""
    reach = 0
    needs_matching = False
    checks_promotions = False
    compares_objects = False

    def select(self, state: State, arrival: Arrival) -> bool:
        """Before the masks of a frame: True keeps the recent memories; False drops them: prompted frames are left."""
        return True

    def choose_mask(self, state: State, candidates_4hw: np.ndarray, scores_4: Sequence[float]) -> int | None:
        """Which of the four candidates ``[4, 4 side, 4 side]`` bool is the mask; None = the model's choice."""
        return None

    def admit(self, state: State, seen: Seen) -> bool:
        """True if the frame becomes a recent memory. Also called on prompted frames, where the answer is ignored."""
        return True

    def promote(self, state: State, seen: Seen) -> bool | None:
        """True: the frame becomes a conditioning memory, if no other policy says False; None = no opinion."""
        return None

    def evict(self, state: State, frames: Sequence[int]) -> int | None:
        """Which recent frame the new one replaces, of the distinct frames in a full or partly filled ring; None = the
        one that SAM 2 replaces. `EMPTY_SLOT` = any free slot, the oldest frame if none is."""
        return None


EMPTY_SLOT = -1


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two masks; 0 if both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 0.0


def box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes x0, y0, x1, y1; 0 if both are empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / total if total > 0 else 0.0
