"""The training loop: batches in, checkpoints, a log and weights out.

Knows one process on one device, and rendered clips only. Does not know the command line; fine-tuning is `finetune`.
"""

from __future__ import annotations

import copy
import json
import time
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from sam2_ros.engine.config import config_for
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.engine.model.state_dict import load_strictly
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.weights.catalogue import find_checkpoint
from sam2_ros.weights.load import read_state

from .clips import IN_WORKERS, clip_batches, rendered_batch
from .device_clips import on_device
from .grouping import Grouping
from .initial_values import initialise
from .losses import frame_loss, mask_iou
from .optimisers import make_optimisers
from .recipe import TrainConfig
from .simulate import draw_absence, draw_kind, draw_slip
from .stills import stills_loss
from .unroll import ClipBatch, encode, unroll

MEMORY = (  # first parts of the names of parameters that clips of one frame teach nothing
    "memory_",
    "maskmem_",
    "mask_downsample",
    "obj_ptr_",
    "no_obj_",
    "no_mem_",
    "sam_mask_decoder.pred_obj_score_head",
    "sam_mask_decoder.obj_score_token",
)


OWN = ("checkpoint.pt", "log.jsonl")
"""What a run leaves; each is whole at any time, so that one that was killed goes on."""


class Run(NamedTuple):
    """What a run changes from step to step, and a checkpoint holds."""

    model: Sam2Model
    averaged: Sam2Model
    grouping: Grouping
    optimisers: list[torch.optim.Optimizer]


def train(
    config: TrainConfig,
    out_dir: Path,
    precision: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Sam2Model:
    """Train from `config.start` or from scratch, or go on from the newest checkpoint in `out_dir`.

    Leaves `checkpoint.pt` (everything needed to go on) and `log.jsonl` (one line per report).

    Args:
        device: left out: the CPU.

    Returns:
        The model with exponentially averaged weights.

    Raises:
        ValueError: `config` has no phases.
        UserError: `out_dir` is not empty, and not of such a run.
    """
    if not config.phases:
        raise ValueError("a training run needs at least one phase")
    torch.set_num_threads(config.threads)
    begin = 0
    with ResultFolder(out_dir, "train", OWN, called="out") as folder:
        folder.own(*OWN)
        for index in range(len(config.phases)):
            averaged = _train_phase(config, index, begin, folder, precision, device or torch.device("cpu"))
            begin += config.phases[index].steps
    return averaged


def _train_phase(
    config: TrainConfig,
    index: int,
    begin: int,
    folder: ResultFolder,
    precision: torch.dtype,
    device: torch.device,
) -> Sam2Model:
    """Run phase `index`, whose first step is `begin`, or what the checkpoint left of it."""
    phase = config.phases[index]
    end = begin + phase.steps
    torch.manual_seed(config.seed)
    run = _first_run(config, phase.image_size, device)
    start = _restore(folder.path / "checkpoint.pt", run)
    if start >= end:
        return run.averaged
    rng = np.random.default_rng((config.seed, start))
    held_out = rendered_batch(
        config.first_clip_seed - config.validation_clips,
        config.validation_clips,
        phase.image_size,
        config.objects,
        config.validation_frames,
    ).to(device)
    batches = clip_batches(
        # A resumed run counts more clips than were used, and sees new ones.
        config.first_clip_seed * (index + 1) + (start - begin) * phase.clips,
        phase.clips,
        phase.image_size,
        config.objects,
        repeat(phase.frames, end - start),
        config.render_workers,
        1 if phase.fresh else config.reuse,
        on_device(device) if device.type == "cuda" else IN_WORKERS,
    )
    for name, parameter in run.model.named_parameters():
        parameter.requires_grad_(not phase.memory_alone or name.startswith(MEMORY))
    began, losses, ious = time.monotonic(), [], []
    for step, batch in enumerate(batches, start):
        rate = phase.learning_rate * config.rate_share_at(phase, step - begin)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss, iou = _loss(run, batch.to(device), config, step, rng)
        _descend(run, loss, rate, config.clip_gradient)
        _average(run.averaged, run.model, min(config.ema, (1 + step) / (10 + step)))
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
            _log(folder.path, line)
            losses, ious = [], []
        if done % config.checkpoint_every == 0 or done == end:
            _log(folder.path, {"step": done, **validate(run.averaged, held_out)})
            _save(folder.stage("checkpoint.pt"), config, done, run)
            folder.put("checkpoint.pt")
    return run.averaged


def _descend(run: Run, loss: torch.Tensor, rate: float, clip_gradient: float) -> None:
    for optimiser in run.optimisers:
        optimiser.zero_grad(set_to_none=True)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["rate"]
    loss.backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), clip_gradient)
    for optimiser in run.optimisers:
        optimiser.step()


@torch.inference_mode()
def validate(model: Sam2Model, batch: ClipBatch) -> dict[str, float]:
    """Follow held-out clips from a box on the first frame.

    Returns:
        Mean IoU over tracked frames where the object shows, and the share of frames with the right presence.
    """
    teacher = torch.zeros_like(batch.visible_tm[0])
    predictions = unroll(model, encode(model, batch), batch, "box", teacher, np.random.default_rng(0))
    ious, right = [], []
    for prediction, target, visible in zip(
        predictions[1:], batch.targets_tmhw[1:], batch.visible_tm[1:], strict=True
    ):
        present = prediction.presence_m > 0
        logits = torch.where(present.view(-1, 1, 1), prediction.chosen_mhw, -1.0)
        ious.append(mask_iou(logits, target)[visible])
        right.append(present == visible)
    return {
        "val_iou": round(torch.cat(ious).mean().item(), 4),
        "val_presence": round(torch.cat(right).float().mean().item(), 4),
    }


def _first_run(config: TrainConfig, image_size: int, device: torch.device) -> Run:
    model = initialise(Sam2Model(config_for(config.model).at_image_size(image_size)))
    if config.start:
        load_strictly(model, read_state(find_checkpoint(config.start)))
    model.to(device)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    grouping = Grouping(model.config).to(device)
    return Run(model, averaged, grouping, make_optimisers(nn.ModuleList([model, grouping]), config))


def _loss(
    run: Run, batch: ClipBatch, config: TrainConfig, step: int, rng: np.random.Generator
) -> tuple[torch.Tensor, tuple[float, float]]:
    """Mean loss over the frames of a batch; mean IoU of the prompted and of the tracked frames, for the log."""
    balance, device = config.balance_at(step), batch.visible_tm.device
    taught = rng.random(batch.visible_tm.shape[1]) < config.teacher_share_at(step)
    teacher = torch.from_numpy(taught).to(device)
    features = encode(run.model, batch)
    absence = draw_absence(rng, batch.visible_tm.cpu())
    b, t, n = batch.masks_btnhw.shape[:3]
    slip = draw_slip(rng, t, b, n)
    absence = None if absence is None else absence.to(device)
    slip = None if slip is None else slip.to(device)
    predictions = unroll(run.model, features, batch, draw_kind(rng), teacher, rng, absence, slip)
    frames = zip(predictions, batch.targets_tmhw, batch.visible_tm, strict=True)
    presence_weight = 1.0 if len(predictions) > 1 else 0.0  # on one frame everything shows: nothing to learn
    losses = [
        frame_loss(
            p.logits_mkhw, p.iou_mk, p.presence_m, target, visible, p.multimask, balance, presence_weight
        )
        for p, target, visible in frames
    ]
    grouped = run.grouping(features, batch.targets_tmhw, len(batch.images_bt3hw), balance)
    with torch.no_grad():
        frames = zip(predictions, batch.targets_tmhw, batch.visible_tm, strict=True)
        ious = [mask_iou(p.chosen_mhw, target)[visible].mean().item() for p, target, visible in frames]
    loss = torch.stack(losses).mean() + config.grouping_weight * grouped
    if config.still_objects and t > 1:  # clips of one frame are prompted as they are
        loss = loss + stills_loss(run.model, features, batch, config.still_objects, rng, balance)
    return loss, (ious[0], float(np.nanmean(ious[1:])) if len(ious) > 1 else 0.0)


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, keep: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - keep)


def _log(out_dir: Path, line: dict[str, float]) -> None:
    print(json.dumps(line), flush=True)
    with (out_dir / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def _save(path: Path, config: TrainConfig, step: int, run: Run) -> None:
    state = {
        "config": asdict(config),
        "step": step,
        "model": run.model.state_dict(),
        "averaged": run.averaged.state_dict(),
        "grouping": run.grouping.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in run.optimisers],
    }
    torch.save(state, path)


def _restore(path: Path, run: Run) -> int:
    """Load a checkpoint when there is one; the step to go on from."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    run.model.load_state_dict(state["model"])
    run.averaged.load_state_dict(state["averaged"])
    run.grouping.load_state_dict(state["grouping"])
    for optimiser, saved in zip(run.optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return int(state["step"])
