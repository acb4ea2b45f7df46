# SPDX-License-Identifier: Apache-2.0
"""Trains nano from scratch: phases of rendered clips in; weights, checkpoints and a log out.

Knows one process on one device, and rendered clips only. Does not know the command line; `finetune` does fine-tuning.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from sam2_ros.engine.config import config_for
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.engine.model.state_dict import load_strictly
from sam2_ros.errors import UserError
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.train.checkpoint import TrainingLog, load_checkpoint, save_checkpoint
from sam2_ros.train.data.batch import ClipBatch
from sam2_ros.train.losses import LossConfig, logits_iou
from sam2_ros.train.prompts import PromptPlan
from sam2_ros.train.rollout import encode_frames, roll_out
from sam2_ros.weights.catalogue import find_checkpoint
from sam2_ros.weights.load import read_state, save_model

from .clips import ClipMaker, check_photographs, clip_batches, in_workers, rendered_batch
from .device_clips import on_device, upload
from .grouping_loss import GroupingLoss
from .initial_values import initialise
from .lite_weights import load_imagenet_weights
from .matching_loss import matching_loss
from .optimisers import make_optimisers
from .recipe import NanoConfig, Phase
from .simulate import SimulatedMemory, draw_corruption, draw_kind, draw_occlusion
from .stills import stills_loss
from .stored_clips import StoredClips, with_stored

MEMORY = (  # prefixes of the parameters that clips of one frame do not train
    "memory_",
    "matching.",
    "maskmem_",
    "mask_downsample",
    "obj_ptr_",
    "no_obj_",
    "no_mem_",
    "sam_mask_decoder.pred_obj_score_head",
    "sam_mask_decoder.obj_score_token",
)
OWN = ("checkpoint.pt", "log.jsonl", "last.safetensors")
"""The files of a run, each written atomically, so that a killed run can resume."""
FIXED = ("model",)


class NanoState(NamedTuple):
    """The state that a step changes; the names are those in a checkpoint."""

    model: Sam2Model
    averaged: Sam2Model
    grouping: GroupingLoss
    optimisers: list[torch.optim.Optimizer]


def train_nano(
    config: NanoConfig,
    out_dir: Path,
    precision: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Sam2Model:
    """Trains from `config.start` or from scratch, or resumes from the checkpoint in `out_dir`.

    Writes `checkpoint.pt` (everything needed to resume), `log.jsonl` (one line per report) and `last.safetensors`, the
    averaged weights in float16, for `load_model`.

    Args:
        device: default: the CPU.

    Returns:
        The model with exponentially averaged weights.

    Raises:
        ValueError: `config` has no phases.
        UserError: the checkpoint in `out_dir` cannot be read or is of another model, `out_dir` has other files, or
            `config.photographs` or `config.sequences` cannot be used.
    """
    if not config.phases:
        raise ValueError("a training run needs at least one phase")
    if config.photographs:
        check_photographs(config.photographs)
    if not 0 <= config.sequences_share <= 1:
        raise UserError(f"sequences_share: {config.sequences_share} given, 0..1 expected")
    if config.sequences:
        StoredClips(config.sequences).check(config.objects)
    torch.set_num_threads(config.threads)
    begin = 0
    with ResultFolder(out_dir, "train", OWN, called="out") as folder:
        folder.own("checkpoint.pt", "log.jsonl")
        for index in range(len(config.phases)):
            averaged = _train_phase(config, index, begin, folder, precision, device or torch.device("cpu"))
            begin += config.phases[index].steps
        notes = {"start": config.start or "random", "recipe": "nano"}
        save_model(averaged, folder.stage("last.safetensors"), notes)
        folder.put("last.safetensors")
    return averaged


def _train_phase(
    config: NanoConfig,
    index: int,
    begin: int,
    folder: ResultFolder,
    precision: torch.dtype,
    device: torch.device,
) -> Sam2Model:
    """Runs phase `index`, whose first step is `begin`, or its remaining steps after a checkpoint."""
    phase = config.phases[index]
    end = begin + phase.steps
    torch.manual_seed(config.seed)
    state = _first_state(config, phase.image_size, device)
    checkpoint = folder.path / "checkpoint.pt"
    log = TrainingLog(folder.path / "log.jsonl", folder.staging)
    start = load_checkpoint(checkpoint, config, FIXED, state._asdict()).step if checkpoint.exists() else 0
    if start >= end:
        return state.averaged
    log.keep_until(start)
    rng = np.random.default_rng((config.seed, start))
    held_out = rendered_batch(
        config.first_clip_seed - config.validation_clips,
        config.validation_clips,
        phase.image_size,
        config.objects,
        config.validation_frames,
        config.photographs,
    ).to(device)
    first_seed = config.first_clip_seed * (index + 1)
    batches = _batches(config, phase, first_seed, start - begin, phase.frames, phase.clips, device)
    singles: Iterator[ClipBatch | None] = repeat(None)
    if phase.single_frames:
        first_seed += config.first_clip_seed // 2
        singles = _batches(config, phase, first_seed, start - begin, 1, phase.single_frames, device)
    for name, parameter in state.model.named_parameters():
        frozen = any(fnmatchcase(name, pattern) for pattern in phase.frozen)
        parameter.requires_grad_(not frozen and (not phase.memory_alone or name.startswith(MEMORY)))
    began, losses, ious = time.monotonic(), [], []
    for step, (batch, single) in enumerate(zip(batches, singles, strict=False), start):
        rate = phase.learning_rate * config.rate_share_at(phase, step - begin)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss, iou = _loss(state, batch.to(device), config, step, rng)
            if single is not None:
                loss = loss + _single_loss(state, single.to(device), config, step, rng)
        _descend(state, loss, rate, config.clip_gradient)
        _average(state.averaged, state.model, min(config.ema, (1 + step) / (10 + step)))
        losses.append(loss.item())
        ious.append(iou)
        done = step + 1
        if done % config.log_every == 0:
            line = {
                "step": done,
                "loss": round(float(np.mean(losses)), 4),
                "iou_prompted": round(float(np.mean([i[0] for i in ious])), 4),
                "iou_tracked": round(float(np.mean([i[1] for i in ious])), 4),
                "lr": rate,
                "s_per_step": round((time.monotonic() - began) / (done - start), 3),
            }
            _report(log, line)
            losses, ious = [], []
        if done % config.checkpoint_every == 0 or done == end:
            _report(log, {"step": done, **validate(state.averaged, held_out)})
            save_checkpoint(folder.stage("checkpoint.pt"), config, done, state._asdict())
            folder.put("checkpoint.pt")
    return state.averaged


def _batches(
    config: NanoConfig,
    phase: Phase,
    first_seed: int,
    used: int,
    frames: int,
    clips: int,
    device: torch.device,
) -> Iterator[ClipBatch]:
    """The batches of a phase after the first `used` ones. A resumed run skips more clip numbers than were used: it
    gets new clips."""
    return clip_batches(
        first_seed + used * clips,
        clips,
        phase.image_size,
        config.objects,
        repeat(frames, phase.steps - used),
        config.render_workers,
        1 if phase.fresh else config.reuse,
        _maker(config, device),
    )


def _maker(config: NanoConfig, device: torch.device) -> ClipMaker:
    on_gpu = device.type == "cuda" and not config.photographs  # a device draws no photographs
    maker = on_device(device) if on_gpu else in_workers(config.photographs)
    if not config.sequences:
        return maker
    stored = StoredClips(config.sequences)
    return with_stored(
        maker, stored, config.sequences_share, partial(upload, device=device) if on_gpu else None
    )


def _descend(state: NanoState, loss: torch.Tensor, rate: float, clip_gradient: float) -> None:
    for optimiser in state.optimisers:
        optimiser.zero_grad(set_to_none=True)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["rate"]
    loss.backward()
    nn.utils.clip_grad_norm_(state.model.parameters(), clip_gradient)
    for optimiser in state.optimisers:
        optimiser.step()


@torch.inference_mode()
def validate(model: Sam2Model, batch: ClipBatch) -> dict[str, float]:
    """Tracks held-out clips from a box on the first frame.

    Returns:
        Mean IoU over tracked frames with the object visible, and the share of frames with the correct presence.
    """
    features, rng = encode_frames(model, batch.pictures), np.random.default_rng(0)
    tracked = roll_out(model, features, batch, PromptPlan("box"), LossConfig(full_size=False), rng)
    visible = batch.visible_tm[1:]
    ious = logits_iou(tracked.logits_tmhw, batch.cover_tmhw)[1:][visible]
    return {
        "val_iou": round(ious.mean().item(), 4),
        "val_presence": round(((tracked.presence_tm[1:] > 0) == visible).float().mean().item(), 4),
    }


def _first_state(config: NanoConfig, image_size: int, device: torch.device) -> NanoState:
    model = initialise(Sam2Model(config_for(config.model).at_image_size(image_size)))
    if config.encoder_weights:
        load_imagenet_weights(model.trunk, Path(config.encoder_weights).expanduser())
    if config.start:
        _start_from(model, read_state(find_checkpoint(config.start)))
    model.to(device)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    grouping = GroupingLoss(model.config).to(device)
    return NanoState(model, averaged, grouping, make_optimisers(nn.ModuleList([model, grouping]), config))


def _start_from(model: Sam2Model, state: Mapping[str, torch.Tensor]) -> None:
    """Load a state dict of this model, or what fits of another one; says what does not."""
    own = model.state_dict()
    if own.keys() == state.keys():
        load_strictly(model, state)
        return
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    others = sorted({".".join(key.split(".")[:2]) for key in own.keys() - fitting.keys()})
    print(f"start: {len(fitting)} of {len(own)} tensors; new: {', '.join(others)}", flush=True)
    model.load_state_dict(fitting, strict=False)


def _loss_config(config: NanoConfig, balance: float, presence: float = 1.0) -> LossConfig:
    every = config.every_candidate
    return LossConfig("balanced", balance, full_size=False, every_candidate=every, presence=presence)


def _loss(
    state: NanoState, batch: ClipBatch, config: NanoConfig, step: int, rng: np.random.Generator
) -> tuple[torch.Tensor, tuple[float, float]]:
    """Mean loss over the frames of a batch; mean IoU of the prompted and of the tracked frames, for the log."""
    model, device, balance = state.model, batch.masks_tmhw.device, config.balance_at(step)
    t, m, b = batch.frames, len(batch.clip_m), len(batch.pictures)
    # On a single frame every object is visible: no presence loss.
    loss_config = _loss_config(config, balance, float(t > 1))
    true_memory = torch.from_numpy(rng.random(m) < config.teacher_share_at(step)).to(device)
    features = encode_frames(model, batch.pictures)
    occlusion = draw_occlusion(rng, batch.visible_tm.cpu())
    corruption = draw_corruption(rng, t, b, m // b)
    plan = PromptPlan(draw_kind(rng), masks_answered=True)
    memory = SimulatedMemory(
        batch,
        true_memory,
        plan.kind == "mask",
        None if occlusion is None else occlusion.to(device),
        None if corruption is None else corruption.to(device),
    )
    unfused = None
    if config.unfused_share:
        unfused = torch.from_numpy(rng.random(m) < config.unfused_share).to(device)
    tracked = roll_out(model, features, batch, plan, loss_config, rng, memory, unfused_m=unfused)
    loss = tracked.terms_4.sum() / tracked.answers
    if config.grouping_weight:
        loss = loss + config.grouping_weight * state.grouping(features, batch.cover_tmhw, b, balance)
    if config.matching_weight and t > 1 and features.keys is not None:
        matched = matching_loss(model, features, batch, config.matched_frames, rng, balance)
        loss = loss + config.matching_weight * matched
    if config.still_objects and t > 1:  # clips of one frame are prompted in `roll_out` already
        loss = loss + stills_loss(model, features, batch, config.still_objects, rng, loss_config)
    with torch.no_grad():
        candidates = torch.stack([tracked.candidates[frame] for frame in range(t)])
        iou_tm = logits_iou(candidates, batch.cover_tmhw)
        ious = [iou[visible].mean().item() for iou, visible in zip(iou_tm, batch.visible_tm, strict=True)]
    return loss, (ious[0], float(np.nanmean(ious[1:])) if len(ious) > 1 else 0.0)


def _single_loss(
    state: NanoState, batch: ClipBatch, config: NanoConfig, step: int, rng: np.random.Generator
) -> torch.Tensor:
    """Mean loss over prompts and corrections of all objects of one-frame clips."""
    features = encode_frames(state.model, batch.pictures)
    loss = _loss_config(config, config.balance_at(step))
    return stills_loss(state.model, features, batch, len(batch.clip_m), rng, loss)


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, keep: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - keep)


def _report(log: TrainingLog, line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)
    log.add(line)
