# SPDX-License-Identifier: Apache-2.0
"""One optimiser step: the loss of a batch, gradients averaged over processes, new weights.

Does not know files or the number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from sam2_ros.engine.model.sam2 import ImageFeatures, Sam2Model
from sam2_ros.errors import UserError
from sam2_ros.train.data.batch import ClipBatch
from sam2_ros.train.losses import TERMS, LossConfig, logits_iou
from sam2_ros.train.processes import ProcessGroup
from sam2_ros.train.rollout import RollOut, encode_frames, roll_out
from sam2_ros.train.train_config import FinetuneConfig

from .feature_cache import FeatureCache
from .parameters import set_rates, share_at
from .prompt_plan import draw_plan
from .teacher import FeatureBridge, Teacher, mask_distillation_loss, resized


class FinetuneState(NamedTuple):
    """The state that a step changes; the names are those in a checkpoint."""

    model: Sam2Model
    bridge: FeatureBridge | None
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


@dataclass
class Stepper:
    """Executes optimiser steps."""

    config: FinetuneConfig
    state: FinetuneState
    processes: ProcessGroup
    loss: LossConfig
    teacher: Teacher | None = None
    cache: FeatureCache | None = None
    sums: dict[str, float] = field(default_factory=dict)  # losses and scores since the last report
    last: tuple[ClipBatch, torch.Tensor] | None = None  # the last batch and its logits, for a picture

    def clip_numbers(self, first_step: int) -> Iterator[Sequence[int]]:
        """Numbers of this process's clips, batch by batch, from a step on. No clip is used twice in a run."""
        config, count = self.config, self.processes.count
        for one_pass in range(first_step * config.accumulate, config.steps * config.accumulate):
            first = (one_pass * count + self.processes.rank) * config.clips
            yield range(first, first + config.clips)

    def step(self, number: int, batches: Iterator[ClipBatch]) -> None:
        """Executes step `number` of the run: `accumulate` batches, one update of the weights.

        Raises UserError if the loss is not finite.
        """
        config, state, processes = self.config, self.state, self.processes
        set_rates(state.optimiser, share_at(number, config))
        state.optimiser.zero_grad(set_to_none=True)
        for part in range(config.accumulate):
            batch = next(batches).to(processes.device)
            with state.model.precision():
                loss = self._loss(batch, (config.seed, 2, number, part, processes.rank))
            if not math.isfinite(loss.item()):
                raise UserError(
                    f"the loss is {loss.item()} at step {number}: lower learning_rate, or use precision fp32 or bf16",
                    status=1,
                )
            state.scaler.scale(loss / config.accumulate).backward()
        parameters = self.parameters()
        # Averaged before unscaling, so that an overflow in one process is one in all.
        processes.average_gradients(parameters)
        state.scaler.unscale_(state.optimiser)
        nn.utils.clip_grad_norm_(parameters, config.clip_gradient)
        state.scaler.step(state.optimiser)
        state.scaler.update()

    def parameters(self) -> list[nn.Parameter]:
        bridge = [] if self.state.bridge is None else self.state.bridge.parameters()
        return list(chain(self.state.model.parameters(), bridge))

    def _loss(self, batch: ClipBatch, seed: Sequence[int]) -> torch.Tensor:
        """Loss summed over frames and answers, divided by the mean number of objects per process."""
        config = self.config
        features = self._features(batch)
        plan = draw_plan(np.random.default_rng(seed), config, batch.visible_tm.cpu().numpy())
        by_frame = config.checkpoint_gradients
        model, draws = self.state.model, tuple(seed)
        rolled_out = roll_out(model, features, batch, plan, self.loss, draws, frame_by_frame=by_frame)
        objects = self.processes.total(len(batch.clip_m)) / self.processes.count
        loss = rolled_out.terms_4.sum() / objects
        self._add(loss=rolled_out.terms_4.sum().item(), answers=rolled_out.answers)
        self._add(**dict(zip(TERMS, rolled_out.terms_4.tolist(), strict=True)))
        self._add_iou(batch, rolled_out)
        if self.teacher is not None:
            loss = loss + self._distillation_loss(batch, features, rolled_out, objects)
        self.last = batch, rolled_out.logits_tmhw
        return loss

    def _add(self, **values: float) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def _features(self, batch: ClipBatch) -> ImageFeatures:
        if self.cache is not None:
            return self.cache.load(list(chain.from_iterable(batch.keys_bt)), self.processes.device)
        size, b_t = self.state.model.config.image_size, batch.pictures.shape[:2]
        images = resized(batch.pictures.flatten(0, 1), size).unflatten(0, b_t)
        if self.config.freeze_encoder:
            with torch.no_grad():
                return encode_frames(self.state.model, images, frame_by_frame=False)
        return encode_frames(self.state.model, images, self.config.checkpoint_gradients)

    def _distillation_loss(
        self, batch: ClipBatch, features: ImageFeatures, rolled_out: RollOut, objects: float
    ) -> torch.Tensor:
        assert self.teacher is not None
        weights = self.config.teacher
        theirs = self.teacher.encode(batch.pictures)
        visible = batch.visible_tm
        masks = [
            mask_distillation_loss(ours, self.teacher.mask_logits(theirs, batch, frame), visible[frame])
            for frame, ours in rolled_out.candidates.items()
        ]
        loss = torch.stack(masks).sum() / objects if masks else rolled_out.terms_4.new_zeros(())
        asked = max(1, len(masks)) * len(batch.clip_m)
        self._add(teacher_mask=loss.item() * objects / asked * rolled_out.answers)
        loss = weights.mask_weight * loss
        if self.state.bridge is not None:
            difference = self.state.bridge(features, theirs)
            self._add(teacher_features=difference.item() * rolled_out.answers)
            loss = loss + weights.feature_weight * difference
        return loss

    @torch.no_grad()
    def _add_iou(self, batch: ClipBatch, rolled_out: RollOut) -> None:
        visible = batch.visible_tm[1:]
        iou = logits_iou(rolled_out.logits_tmhw, batch.cover_tmhw)[1:][visible]
        self._add(iou_tracked=float(iou.sum()), seen=float(visible.sum()))
