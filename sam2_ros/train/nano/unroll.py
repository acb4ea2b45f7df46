"""Runs a model over a batch of clips the way the tracker does, with gradients.

Keeps memory in plain lists, because a bank written in place cannot be differentiated. Does not know the loss.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from sam2_ros.engine.model.mask_decoder import DecodedMasks, choose_mask
from sam2_ros.engine.model.sam2 import ImageFeatures, MemoryView, Sam2Model

from .simulate import Absence, Slip, simulate_boxes, simulate_clicks


class ClipBatch(NamedTuple):
    """b clips of t frames with n objects each, ready for the model."""

    images_bt3hw: torch.Tensor  # [b, t, 3, S, S] normalised
    masks_btnhw: np.ndarray  # [b, t, n, S, S] bool
    targets_tmhw: torch.Tensor  # [t, b * n, S / 4, S / 4] covered share of each cell
    visible_tm: torch.Tensor  # [t, b * n] bool

    def to(self, device: torch.device) -> ClipBatch:
        """The tensors on a device; the masks at full size stay where prompts are drawn from them."""
        return ClipBatch(
            self.images_bt3hw.to(device),
            self.masks_btnhw,
            self.targets_tmhw.to(device),
            self.visible_tm.to(device),
        )


class FramePrediction(NamedTuple):
    """All four candidates, and the one that the tracker would show."""

    logits_mkhw: torch.Tensor
    iou_mk: torch.Tensor
    presence_m: torch.Tensor
    chosen_mhw: torch.Tensor
    multimask: bool


def encode(model: Sam2Model, batch: ClipBatch) -> ImageFeatures:
    """Features of every frame, clip after clip: ``[b * t, c, h, w]`` each."""
    return model.encode_image(batch.images_bt3hw.flatten(0, 1))


def unroll(
    model: Sam2Model,
    features: ImageFeatures,
    batch: ClipBatch,
    kind: str,
    teacher_m: torch.Tensor,
    rng: np.random.Generator,
    absence: Absence | None = None,
    slip: Slip | None = None,
) -> list[FramePrediction]:
    """Prompt every object on the first frame and follow it through its clip.

    Args:
        features: `encode` of the batch.
        kind: "box", "click" or "mask".
        teacher_m: ``[b * n]`` bool: objects whose memory is made from the true mask.
        absence: what memory is told about a long absence, whatever the frames show.
        slip: what memory gets wrong.

    Returns:
        One prediction per frame.
    """
    b, t, n = batch.masks_btnhw.shape[:3]
    predictions: list[FramePrediction] = []
    memories: list[torch.Tensor] = []
    pointers: list[torch.Tensor] = []
    for frame in range(t):
        here = ImageFeatures(*(_per_object(level, frame, b, t, n) for level in features))
        target, visible = batch.targets_tmhw[frame], batch.visible_tm[frame]
        multimask = frame > 0 or kind == "click"
        if frame == 0:
            decoded, true_dense = _decode_prompted(model, here, batch, kind, rng)
        else:
            fused = model.fuse_memory(here.s16, _view(model, memories, pointers))
            decoded, true_dense = model.decode(fused, here), False
        chosen = choose_mask(decoded, multimask, stability_fallback=False)
        predictions.append(
            FramePrediction(
                decoded.logits_b4hw.float(),
                decoded.iou_b4.float(),
                decoded.presence_b.float(),
                chosen.logits_b1hw[:, 0].float(),
                multimask,
            )
        )
        if frame == t - 1:
            break
        taught = torch.ones_like(teacher_m) if true_dense else teacher_m
        true_logits = torch.logit(target[:, None], eps=1e-4)
        logits = torch.where(taught.view(-1, 1, 1, 1), true_logits, chosen.logits_b1hw.float())
        presence = torch.where(taught, visible.float() * 20 - 10, decoded.presence_b.float())
        if slip is not None:
            logits = slip.remembered(frame, logits)
        times = 1
        if absence is not None and frame == absence.frame:
            times = absence.times
            presence = torch.where(absence.lost_m, -10.0, presence)
        logits = torch.where(presence.view(-1, 1, 1, 1) > 0, logits, -1024.0)
        memories += [model.encode_memory(here.s16, logits, presence)] * times
        pointers += [model.pointer(chosen.token_bc, presence > 0)] * times
    return predictions


def _per_object(level: torch.Tensor, frame: int, b: int, t: int, n: int) -> torch.Tensor:
    """Features of one frame of every clip, repeated for its objects: ``[b * n, c, h, w]``."""
    return level.unflatten(0, (b, t))[:, frame].repeat_interleave(n, dim=0)


def _decode_prompted(
    model: Sam2Model, here: ImageFeatures, batch: ClipBatch, kind: str, rng: np.random.Generator
) -> tuple[DecodedMasks, bool]:
    """Decode the first frame; a mask prompt is decoded from the plain feature, as `Sam2Model.adopt_mask` does."""
    masks = batch.masks_btnhw[:, 0].reshape(-1, *batch.masks_btnhw.shape[-2:])
    device = here.s16.device
    if kind == "mask":
        dense = model.mask_downsample(torch.from_numpy(masks).to(device)[:, None].float())
        return model.decode(here.s16, here, mask_logits_b1hw=dense), True
    points, labels = (simulate_boxes if kind == "box" else simulate_clicks)(rng, masks)
    fused = model.without_memory(here.s16)
    return model.decode(fused, here, points.to(device), labels.to(device)), False


def _view(model: Sam2Model, memories: list[torch.Tensor], pointers: list[torch.Tensor]) -> MemoryView:
    """First frame as conditioning, the newest ones as recents; list index = frame."""
    config, device = model.config, memories[0].device
    now = len(memories)
    recents = range(max(1, now - config.num_maskmem + 1), now)
    slots = [config.num_maskmem - 1] + [now - frame - 1 for frame in recents]
    kept = range(max(1, now - config.max_pointers + 1), now)
    objects = len(memories[0])
    return MemoryView(
        torch.stack([memories[0], *(memories[f] for f in recents)], dim=1),
        torch.tensor(slots, device=device).expand(objects, -1),
        torch.stack([pointers[0], *(pointers[f] for f in kept)], dim=1),
        torch.tensor([float(now)] + [float(now - f) for f in kept], device=device).expand(objects, -1),
    )
