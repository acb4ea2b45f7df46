# SPDX-License-Identifier: Apache-2.0
"""Runs a model over a batch of clips as the tracker does, with gradients, and computes the losses.

Stores memories in dictionaries, because a bank that is written in place cannot be differentiated. Does not know
optimisers, files or teachers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from sam2_ros.engine.memory_bank import time_slots
from sam2_ros.engine.model.mask_decoder import choose_mask, upsample_logits
from sam2_ros.engine.model.matching import MatchFrames, MatchView
from sam2_ros.engine.model.sam2 import NO_OBJECT_LOGIT, ImageFeatures, MemoryView, Sam2Model
from sam2_ros.engine.prompt_decoding import DENSE_PROMPT_LIMIT

from .data.batch import ClipBatch
from .losses import TERMS, LossConfig, answer_loss
from .prompts import Draws, FramePrompts, Points, PromptPlan

R = TypeVar("R")


class MatchedFrame(NamedTuple):
    """One frame in the matching memory: keys of b clips, and masks of m objects, where they are visible."""

    keys_bnc: torch.Tensor
    values_mn: torch.Tensor
    valid_m: torch.Tensor


class FrameMemory(NamedTuple):
    """Memory of one frame for all objects: ``[m, cells, channels]`` spatial memories, ``[m, d]`` object pointers."""

    spatial_mlc: torch.Tensor
    pointer_md: torch.Tensor
    matched: MatchedFrame | None = None  # None: the model has no matching memory


class MemoryEdit(Protocol):
    """Changes in training what enters the memory, compared with the tracker."""

    def times(self, frame: int) -> range:
        """Points in time at which a frame is stored in memory; without an edit, only its own number."""

    def __call__(
        self, frame: int, logits_m1hw: torch.Tensor, presence_m: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mask logits and object scores that enter the memory instead of the model's."""


class FrameAnswer(NamedTuple):
    """One frame: the loss terms summed over its answers, the last answer, and its memory."""

    terms_4: torch.Tensor
    answers: int
    logits_m1hw: torch.Tensor  # -1024 for an object predicted absent
    candidate_mhw: torch.Tensor  # the same logits without that replacement
    presence_m: torch.Tensor
    memory: FrameMemory | None  # None: no later frame needs it


class RollOut(NamedTuple):
    """The results of a whole batch."""

    terms_4: torch.Tensor  # sums over frames, answers and objects
    answers: int  # number of answers, summed over objects
    logits_tmhw: torch.Tensor  # detached, of the last answer on every frame
    presence_tm: torch.Tensor  # detached, of the last answer on every frame
    candidates: dict[int, torch.Tensor]  # frame with an answer -> ``[m, h, w]``, with gradients


def encode_frames(
    model: Sam2Model, images_bt3hw: torch.Tensor, frame_by_frame: bool = False
) -> ImageFeatures:
    """Features of every frame, clip after clip: ``[b * t, c, h, w]`` each.

    Args:
        frame_by_frame: store no activations; compute them again in the backward pass, one frame at a time.
    """
    images = images_bt3hw.flatten(0, 1)
    if not frame_by_frame:
        return model.encode_image(images)
    each = [_recomputed(lambda image=image: model.encode_image(image)) for image in images.split(1)]  # type: ignore[misc]
    keys = [features.keys for features in each if features.keys is not None]
    s4, s8, s16 = (torch.cat(level) for level in zip(*(features[:3] for features in each), strict=True))
    return ImageFeatures(s4, s8, s16, torch.cat(keys) if keys else None)


def roll_out(
    model: Sam2Model,
    features: ImageFeatures,
    batch: ClipBatch,
    plan: PromptPlan,
    loss: LossConfig,
    draws: Draws,
    edit: MemoryEdit | None = None,
    frame_by_frame: bool = False,
    unfused_m: torch.Tensor | None = None,
) -> RollOut:
    """Runs the model over the batch: prompted frames first, then the others in order, as the official training does.

    Args:
        features: `encode_frames` of the batch, or the same from a cache.
        draws: source of the random points.
        edit: changes of the memory; None: memory as in the tracker.
        frame_by_frame: as in `encode_frames`.
        unfused_m: ``[m]`` bool: objects that are tracked without memory attention, by the matching memory alone, so
            that the mask decoder learns to use it.
    """
    order = [*plan.conditioning, *(f for f in range(batch.frames) if f not in plan.conditioning)]
    results: dict[int, FrameAnswer] = {}
    memories: dict[int, FrameMemory] = {}  # by point in time
    lasting: list[int] = []  # points in time of prompted and corrected frames
    for frame in order:
        times = range(frame, frame + 1) if edit is None else edit.times(frame)
        view, keys = None, None
        if features.keys is not None:
            keys = features.keys.unflatten(0, (-1, batch.frames))[:, frame]
        matched: list[list[MatchedFrame]] = []
        if frame not in plan.conditioning:
            view = _memory_view(model, memories, lasting, times.start)
            matched = _matched_frames(model, memories, lasting, times.start)
        own = (*draws, frame) if isinstance(draws, tuple) else draws
        here = features_of(features, batch, frame)._replace(keys=None)
        answering = _Frame(frame, here, view, FramePrompts(own), frame != order[-1], keys, matched, unfused_m)

        def run(answering: _Frame = answering) -> FrameAnswer:
            return _run_frame(model, batch, plan, loss, answering, edit)

        results[frame] = result = _recomputed(run) if frame_by_frame else run()
        if result.memory is not None:
            memories |= dict.fromkeys(times, result.memory)
        if frame in plan.conditioning or frame in plan.corrected:
            lasting += times
    in_order = [results[frame] for frame in range(batch.frames)]
    return RollOut(
        torch.stack([r.terms_4 for r in results.values()]).sum(dim=0),
        sum(r.answers for r in in_order) * len(batch.clip_m),
        torch.stack([r.logits_m1hw[:, 0].detach() for r in in_order]),
        torch.stack([r.presence_m.detach() for r in in_order]),
        {frame: r.candidate_mhw for frame, r in results.items() if r.answers},
    )


@dataclass(frozen=True)
class _Frame:
    """Inputs of one frame.

    Attributes:
        features: features of each object's clip, ``[m, c, h, w]`` each.
        view: the memory; None on frames that are prompted from the start.
        remembered: a later frame needs this frame's memory.
        keys_bnc: keys of b clips for the matching memory; None: the model has none.
        matched: prompted frames, and recent ones, that these are matched to.
        unfused_m: see `roll_out`.
    """

    number: int
    features: ImageFeatures
    view: MemoryView | None
    prompts: FramePrompts
    remembered: bool
    keys_bnc: torch.Tensor | None
    matched: list[list[MatchedFrame]]
    unfused_m: torch.Tensor | None = None


def features_of(features: ImageFeatures, batch: ClipBatch, frame: int) -> ImageFeatures:
    """Selects from `encode_frames` the features of each object's clip on one frame: ``[m, c, h, w]`` each."""
    return features.each(lambda level: level.unflatten(0, (-1, batch.frames))[batch.clip_m, frame])


def _recomputed(compute: Callable[[], R]) -> R:
    """Calls `compute` with gradient checkpointing: its activations are computed again in the backward pass."""
    result: R = checkpoint(compute, use_reentrant=False)
    return result


def _run_frame(
    model: Sam2Model,
    batch: ClipBatch,
    plan: PromptPlan,
    loss: LossConfig,
    frame: _Frame,
    edit: MemoryEdit | None,
) -> FrameAnswer:
    """Decodes the prompts of a frame, or tracks it, and makes its memory."""
    masks, here, device = batch.masks_tmhw[frame.number], frame.features, batch.masks_tmhw.device
    visible = batch.visible_tm[frame.number]
    mask_given = frame.view is None and plan.kind == "mask"
    if mask_given and not plan.masks_answered:
        adopted = model.mask_as_output(masks, here)
        spatial = model.encode_memory(here.s16, adopted.logits_b1hw, adopted.presence_b)
        none = masks.new_zeros(len(TERMS), dtype=torch.float32)
        logits, presence = adopted.logits_b1hw, adopted.presence_b
        remembered = FrameMemory(spatial, adopted.pointer_bd, _to_match(model, frame, logits, presence))
        return FrameAnswer(none, 0, logits, logits[:, 0], presence, remembered)
    dense = None
    points = Points(torch.zeros(len(masks), 0, 2), torch.zeros(len(masks), 0, dtype=torch.long))
    if mask_given:
        fused = here.s16
        dense = model.mask_downsample(masks[:, None].float())
    elif frame.view is None:
        fused = model.without_memory(here.s16)
        points = frame.prompts.first(plan.kind, masks.cpu().numpy())
    else:
        fused = model.fuse_memory(here.s16, frame.view)
        if frame.unfused_m is not None:
            plain = model.without_memory(here.s16)
            fused = torch.where(frame.unfused_m.view(-1, 1, 1, 1), plain.to(fused.dtype), fused)
    evidence = _evidence(model, batch, frame)
    target = masks if loss.full_size else batch.cover_tmhw[frame.number]
    terms: list[torch.Tensor] = []
    shown = fused.new_zeros(0)
    for number in range(1 + (plan.clicks if frame.number in plan.corrected else 0)):
        if number:
            predicted = upsample_logits(shown, (masks.shape[-2], masks.shape[-1]))[:, 0] > 0
            points = points.and_more(frame.prompts.click(number - 1, predicted, masks))
            dense = shown.detach().float().clamp(-DENSE_PROMPT_LIMIT, DENSE_PROMPT_LIMIT)
        given, labels = points.to(device) if points.per_object else (None, None)
        decoded = model.decode(fused, here, given, labels, dense, evidence)
        if frame.view is None or points.per_object:
            multimask = points.per_object <= 1 and not mask_given
        else:
            multimask = model.config.best_of_three
        terms.append(answer_loss(decoded, target, visible, multimask, loss))
        chosen = choose_mask(decoded, multimask, stability_fallback=False)
        shown = _blanked(chosen.logits_b1hw.float(), decoded.presence_b)
    candidate, presence = chosen.logits_b1hw.float(), decoded.presence_b
    memory = None
    if frame.remembered:
        logits = shown
        if edit is not None:
            logits, presence = edit(frame.number, candidate, presence.float())
            logits = _blanked(logits, presence)
        spatial = model.encode_memory(here.s16, logits, presence)
        pointer = model.pointer(chosen.token_bc, presence > 0)
        memory = FrameMemory(spatial, pointer, _to_match(model, frame, logits, presence))
    summed = torch.stack(terms).sum(dim=0)
    return FrameAnswer(summed, len(terms), shown, candidate[:, 0], decoded.presence_b, memory)


def _to_match(
    model: Sam2Model, frame: _Frame, logits_m1hw: torch.Tensor, presence_m: torch.Tensor
) -> MatchedFrame | None:
    if frame.keys_bnc is None:
        return None
    return MatchedFrame(frame.keys_bnc, model.match_values(logits_m1hw), (presence_m > 0).float())


def _evidence(model: Sam2Model, batch: ClipBatch, frame: _Frame) -> torch.Tensor | None:
    """What the matching memory finds for every object, clip by clip; None where there is none."""
    if frame.keys_bnc is None or frame.view is None:
        return None
    found = []
    for clip, keys_nc in enumerate(frame.keys_bnc):
        own = batch.clip_m == clip
        if own.any():
            view = MatchView(*(_frames_of(frames, clip, own, keys_nc) for frames in frame.matched))
            found.append(model.matching.read(keys_nc, view))
    return torch.cat(found)


def _frames_of(
    frames: Sequence[MatchedFrame], clip: int, own_m: torch.Tensor, keys_nc: torch.Tensor
) -> MatchFrames:
    b = int(own_m.sum())
    if not frames:
        n, c = keys_nc.shape
        return MatchFrames(keys_nc.new_zeros(0, n, c), keys_nc.new_zeros(b, 0, n), keys_nc.new_zeros(b, 0))
    return MatchFrames(
        torch.stack([frame.keys_bnc[clip] for frame in frames]),
        torch.stack([frame.values_mn[own_m] for frame in frames], dim=1),
        torch.stack([frame.valid_m[own_m] for frame in frames], dim=1),
    )


def _matched_frames(
    model: Sam2Model, memories: Mapping[int, FrameMemory], lasting: Sequence[int], now: int
) -> list[list[MatchedFrame]]:
    """Prompted frames, and recent ones, in the matching memory, as `MemoryBank.match_view`."""
    if model.config.matching is None:
        return []
    reach = model.config.matching.recents
    recents = [f for f in sorted(memories) if f not in lasting and 0 < now - f <= reach]
    kept = [[memories[f].matched for f in times] for times in (lasting, recents)]
    return [[frame for frame in frames if frame is not None] for frames in kept]


def _blanked(logits_m1hw: torch.Tensor, presence_m: torch.Tensor) -> torch.Tensor:
    return torch.where((presence_m > 0).view(-1, 1, 1, 1), logits_m1hw, NO_OBJECT_LOGIT)


def _memory_view(
    model: Sam2Model, memories: Mapping[int, FrameMemory], lasting: Sequence[int], now: int
) -> MemoryView:
    """Memories of prompted and corrected frames and of the newest others, and past pointers, as `MemoryBank.view`."""
    config, device = model.config, model.device
    passing = sorted(f for f in memories if f not in lasting and f < now)
    recents = [f for f in passing if now - f <= config.recent_memories]
    ages = now - np.array([*lasting, *recents])
    slots = time_slots(config, ages, np.arange(len(ages)) < len(lasting))
    pointed = [f for f in lasting if f <= now] + [f for f in passing if now - f <= config.recent_pointers]
    spatial = torch.stack([memories[f].spatial_mlc for f in (*lasting, *recents)], dim=1)
    m = len(spatial)
    return MemoryView(
        spatial,
        torch.from_numpy(slots).to(device).expand(m, -1),
        torch.stack([memories[f].pointer_md for f in pointed], dim=1),
        torch.tensor([float(now - f) for f in pointed], device=device).expand(m, -1),
    )
