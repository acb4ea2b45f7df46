"""Follows the objects of a batch through its clips with prompts and corrections, and adds up what the answers cost.

Does what the tracker does, in plain lists that can be differentiated. Does not know optimisers, files or teachers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from sam2_ros.engine.model.mask_decoder import choose_mask, upsample_logits
from sam2_ros.engine.model.sam2 import NO_OBJECT_LOGIT, ImageFeatures, MemoryView, Sam2Model
from sam2_ros.engine.prompt_decoding import DENSE_PROMPT_LIMIT

from .data.clip_sampler import TrainBatch, shows
from .losses import TERMS, answer_loss
from .prompts import ClickScript, PromptPlan, first_points

R = TypeVar("R")


class Remembered(NamedTuple):
    """What one frame leaves in memory for all objects."""

    memory_mlc: torch.Tensor
    pointer_md: torch.Tensor


class FrameAnswer(NamedTuple):
    """One frame: the summed terms of its answers, what is shown in the end, and what is remembered."""

    terms_4: torch.Tensor
    answers: int
    logits_m1hw: torch.Tensor  # -1024 where the object is judged absent
    candidate_mhw: torch.Tensor  # the same as it was before it was judged
    remembered: Remembered


class Followed(NamedTuple):
    """A whole batch."""

    terms_4: torch.Tensor  # sums over frames, answers and objects
    answers: int  # times objects that were asked about
    logits_tmhw: torch.Tensor  # detached, of the last answer on every frame
    candidates: dict[int, torch.Tensor]  # by frame that was answered: ``[m, h, w]``, with gradients


def encode_frames(model: Sam2Model, images_bt3hw: torch.Tensor, frame_by_frame: bool) -> ImageFeatures:
    """Features of every frame, clip after clip: ``[b * t, c, h, w]`` each.

    Args:
        frame_by_frame: keep no activations, and compute them again, one frame at a time, on the way back.
    """
    images = images_bt3hw.flatten(0, 1)
    if not frame_by_frame:
        return model.encode_image(images)
    each = [_again(lambda image=image: model.encode_image(image)) for image in images.split(1)]  # type: ignore[misc]
    return ImageFeatures(*(torch.cat(level) for level in zip(*each, strict=True)))


def follow(
    model: Sam2Model,
    features: ImageFeatures,
    batch: TrainBatch,
    plan: PromptPlan,
    clicks: int,
    mask_loss: str,
    seed: Sequence[int],
    frame_by_frame: bool = False,
) -> Followed:
    """Prompted frames first, then the others in order, as the official code trains.

    Args:
        features: `encode_frames` of the batch, or the same from a cache.
        clicks: corrective clicks on each frame of `plan.corrected`.
        seed: of all draws.
        frame_by_frame: as in `encode_frames`.
    """
    t = len(batch.masks_tmhw)
    order = [*plan.conditioning, *(f for f in range(t) if f not in plan.conditioning)]
    answers: dict[int, FrameAnswer] = {}
    lasting: list[int] = []
    for frame in order:
        here = ImageFeatures(*(level.unflatten(0, (-1, t))[batch.clip_m, frame] for level in features))
        script = ClickScript((*seed, frame))
        view = None
        if frame not in plan.conditioning:
            view = _view(model, {f: answers[f].remembered for f in answers}, lasting, frame)

        def answer(
            here: ImageFeatures = here,
            script: ClickScript = script,
            view: MemoryView | None = view,
            frame: int = frame,
        ) -> FrameAnswer:
            return _answer(model, here, view, batch, plan, frame, clicks, mask_loss, script)

        answers[frame] = _again(answer) if frame_by_frame else answer()
        if frame in plan.conditioning or frame in plan.corrected:
            lasting.append(frame)
    return Followed(
        torch.stack([a.terms_4 for a in answers.values()]).sum(dim=0),
        sum(a.answers for a in answers.values()) * len(batch.clip_m),
        torch.stack([answers[f].logits_m1hw[:, 0].detach() for f in range(t)]),
        {f: a.candidate_mhw for f, a in answers.items() if a.answers},
    )


def _again(compute: Callable[[], R]) -> R:
    """Its activations are not kept but computed again on the way back."""
    result: R = checkpoint(compute, use_reentrant=False)
    return result


def _answer(
    model: Sam2Model,
    here: ImageFeatures,
    view: MemoryView | None,
    batch: TrainBatch,
    plan: PromptPlan,
    frame: int,
    clicks: int,
    mask_loss: str,
    script: ClickScript,
) -> FrameAnswer:
    masks = batch.masks_tmhw[frame]
    visible = shows(masks)
    if view is None and plan.kind == "mask":
        adopted = model.adopt_mask(masks, here)
        memory = model.encode_memory(here.s16, adopted.logits_b1hw, adopted.presence_b)
        none = masks.new_zeros(len(TERMS), dtype=torch.float32)
        logits = adopted.logits_b1hw
        return FrameAnswer(none, 0, logits, logits[:, 0], Remembered(memory, adopted.pointer_bd))
    fused = model.without_memory(here.s16) if view is None else model.fuse_memory(here.s16, view)
    device = fused.device
    points, labels = torch.zeros(len(masks), 0, 2), torch.zeros(len(masks), 0, dtype=torch.long)
    if view is None:
        rng = np.random.default_rng((*script.seed, 1000))
        points, labels = first_points(rng, plan.kind, masks.cpu().numpy())
    terms: list[torch.Tensor] = []
    shown = fused.new_zeros(0)
    rounds = 1 + (clicks if frame in plan.corrected else 0)
    for number in range(rounds):
        dense = None
        if number:
            predicted = upsample_logits(shown, (masks.shape[-2], masks.shape[-1]))[:, 0] > 0
            point, label = script.click(number - 1, predicted, masks)
            points, labels = torch.cat([points, point], dim=1), torch.cat([labels, label], dim=1)
            dense = shown.detach().float().clamp(-DENSE_PROMPT_LIMIT, DENSE_PROMPT_LIMIT)
        asked = points.shape[1] > 0
        decoded = model.decode(
            fused, here, points.to(device) if asked else None, labels.to(device) if asked else None, dense
        )
        multimask = points.shape[1] <= 1
        terms.append(answer_loss(decoded, masks, visible, multimask, mask_loss))
        chosen = choose_mask(decoded, multimask, stability_fallback=False)
        shown = torch.where(
            (decoded.presence_b > 0).view(-1, 1, 1, 1), chosen.logits_b1hw.float(), NO_OBJECT_LOGIT
        )
    memory = model.encode_memory(here.s16, shown, decoded.presence_b)
    pointer = model.pointer(chosen.token_bc, decoded.presence_b > 0)
    candidate = chosen.logits_b1hw[:, 0].float()
    return FrameAnswer(torch.stack(terms).sum(dim=0), rounds, shown, candidate, Remembered(memory, pointer))


def _view(
    model: Sam2Model, remembered: dict[int, Remembered], lasting: Sequence[int], now: int
) -> MemoryView:
    """Prompted and corrected frames, the newest others, and the pointers of the past, as `MemoryBank.view`."""
    config, device = model.config, model.device
    passing = sorted(f for f in remembered if f not in lasting and f < now)
    recents = [f for f in passing if now - f < config.num_maskmem]
    slots = [config.num_maskmem - 1] * len(lasting) + [now - f - 1 for f in recents]
    kept = [f for f in lasting if f <= now] + [f for f in passing if now - f < config.max_pointers]
    spatial = torch.stack([remembered[f].memory_mlc for f in (*lasting, *recents)], dim=1)
    pointers = torch.stack([remembered[f].pointer_md for f in kept], dim=1)
    m = len(spatial)
    return MemoryView(
        spatial,
        torch.tensor(slots, device=device).expand(m, -1),
        pointers,
        torch.tensor([float(now - f) for f in kept], device=device).expand(m, -1),
    )
