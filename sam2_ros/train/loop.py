"""The training loop: batches in, checkpoints, a log and weights out.

Knows one process on one device. Does not know the command line.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sam2_ros.engine.config import config_for
from sam2_ros.engine.model import Sam2Model
from sam2_ros.engine.state_dict import load_strictly
from sam2_ros.weights import find_checkpoint, read_state

from .clips import clip_batches, rendered_batch
from .config import TrainConfig
from .losses import frame_loss, mask_iou
from .simulate import draw_kind
from .start import initialise
from .unroll import ClipBatch, unroll


def train(config: TrainConfig, out_dir: Path, precision: torch.dtype = torch.float32) -> Sam2Model:
    """Train from `config.start` or from scratch, or go on from the newest checkpoint in `out_dir`.

    Leaves `checkpoint.pt` (everything needed to go on) and `log.jsonl` (one line per report).

    Returns:
        The model with exponentially averaged weights.
    """
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    out_dir.mkdir(parents=True, exist_ok=True)
    model = _first_model(config)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        _parameter_groups(model, config.weight_decay), lr=config.learning_rate, betas=(0.9, 0.95)
    )
    start = _restore(out_dir / "checkpoint.pt", model, averaged, optimiser)
    rng = np.random.default_rng((config.seed, start))
    held_out = rendered_batch(
        config.first_clip_seed - config.validation_clips,
        config.validation_clips,
        model.config.image_size,
        config.objects,
        config.validation_frames,
    )
    batches = clip_batches(
        config.first_clip_seed + start * config.clips,
        config.clips,
        model.config.image_size,
        config.objects,
        _clip_lengths(config, start),
        config.render_workers,
    )
    began, losses, ious = time.monotonic(), [], []
    for step, batch in enumerate(batches, start):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate_at(step)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss, iou = _loss(model, batch, config.teacher_share_at(step), config.balance_at(step), rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_gradient)
        optimiser.step()
        _average(averaged, model, min(config.ema, (1 + step) / (10 + step)))
        losses.append(loss.item())
        ious.append(iou)
        done = step + 1
        if done % config.log_every == 0:
            line = {
                "step": done,
                "loss": round(float(np.mean(losses)), 4),
                "iou_prompted": round(float(np.mean([i[0] for i in ious])), 4),
                "iou_tracked": round(float(np.mean([i[1] for i in ious])), 4),
                "lr": config.learning_rate_at(step),
                "s_per_step": round((time.monotonic() - began) / (done - start), 3),
            }
            _log(out_dir, line)
            losses, ious = [], []
        if done % config.checkpoint_every == 0 or done == config.steps:
            _log(out_dir, {"step": done, **validate(averaged, held_out)})
            _save(out_dir / "checkpoint.pt", config, done, model, averaged, optimiser)
    return averaged


@torch.inference_mode()
def validate(model: Sam2Model, batch: ClipBatch) -> dict[str, float]:
    """Follow held-out clips from a box on the first frame.

    Returns:
        Mean IoU over tracked frames where the object shows, and the share of frames with the right presence.
    """
    teacher = torch.zeros(batch.visible_tm.shape[1], dtype=torch.bool)
    predictions = unroll(model, batch, "box", teacher, np.random.default_rng(0))
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


def _first_model(config: TrainConfig) -> Sam2Model:
    model = initialise(Sam2Model(config_for(config.model)))
    if config.start:
        load_strictly(model, read_state(find_checkpoint(config.start)))
    return model


def _loss(
    model: Sam2Model, batch: ClipBatch, teacher_share: float, balance: float, rng: np.random.Generator
) -> tuple[torch.Tensor, tuple[float, float]]:
    """Mean loss over the frames of a batch; mean IoU of the prompted and of the tracked frames, for the log."""
    teacher = torch.from_numpy(rng.random(batch.visible_tm.shape[1]) < teacher_share)
    predictions = unroll(model, batch, draw_kind(rng), teacher, rng)
    frames = zip(predictions, batch.targets_tmhw, batch.visible_tm, strict=True)
    losses = [
        frame_loss(p.logits_mkhw, p.iou_mk, p.presence_m, target, visible, p.multimask, balance)
        for p, target, visible in frames
    ]
    with torch.no_grad():
        frames = zip(predictions, batch.targets_tmhw, batch.visible_tm, strict=True)
        ious = [mask_iou(p.chosen_mhw, target)[visible].mean().item() for p, target, visible in frames]
    return torch.stack(losses).mean(), (ious[0], float(np.nanmean(ious[1:])) if len(ious) > 1 else 0.0)


def _clip_lengths(config: TrainConfig, start: int) -> Iterator[int]:
    for step in range(start, config.steps):
        yield config.short_frames if step < config.short_steps else config.frames


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """No decay for biases, norms, embeddings and tables."""
    matrices = [p for p in model.parameters() if p.dim() >= 2 and min(p.shape[0], p.flatten(1).shape[1]) > 1]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, keep: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - keep)


def _log(out_dir: Path, line: dict[str, float]) -> None:
    print(json.dumps(line), flush=True)
    with (out_dir / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def _save(
    path: Path,
    config: TrainConfig,
    step: int,
    model: nn.Module,
    averaged: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Written beside and renamed, so that a run killed while saving keeps its last checkpoint."""
    state = {
        "config": asdict(config),
        "step": step,
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def _restore(path: Path, model: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Load a checkpoint when there is one; the step to go on from."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    averaged.load_state_dict(state["averaged"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])
