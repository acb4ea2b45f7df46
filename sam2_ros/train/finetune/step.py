"""One optimiser step: a batch through the model, what it costs, gradients of all processes, new weights.

Does not know files or how often a step is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from torch import nn

from sam2_ros.engine.model.sam2 import ImageFeatures, Sam2Model

from ..checkpoint import Learning
from ..data.clip_sampler import TrainBatch
from ..losses import TERMS
from ..nano.losses import mask_iou
from ..processes import Processes
from ..prompts import draw_plan
from ..rollout import Followed, encode_frames, follow
from ..train_config import FinetuneConfig, TrainError
from .feature_cache import FeatureCache
from .parameters import set_rates, share_at
from .teacher import FeatureBridge, Teacher, mask_resemblance, resized


@dataclass
class Sums:
    """Sums since the last report, of this process."""

    values: dict[str, float] = field(default_factory=dict)

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.values[name] = self.values.get(name, 0.0) + value


@dataclass
class Stepper:
    """Everything one step needs; `model` is `learning.model`."""

    config: FinetuneConfig
    model: Sam2Model
    learning: Learning
    processes: Processes
    mask_loss: str
    teacher: Teacher | None = None
    bridge: FeatureBridge | None = None
    cache: FeatureCache | None = None
    sums: Sums = field(default_factory=Sums)
    last: tuple[TrainBatch, torch.Tensor] | None = None  # of the last pass and its answers, for a picture

    def clip_numbers(self, first_step: int) -> Iterator[Sequence[int]]:
        """Which clips this process draws, pass by pass, from a step on: no clip is drawn twice in a run."""
        config, count = self.config, self.processes.count
        for one_pass in range(first_step * config.accumulate, config.steps * config.accumulate):
            first = (one_pass * count + self.processes.rank) * config.clips
            yield range(first, first + config.clips)

    def step(self, number: int, batches: Iterator[TrainBatch]) -> None:
        """Step `number` of the run: `accumulate` batches, one change of the weights.

        Raises:
            TrainError: the loss is not finite.
        """
        config, learning, processes = self.config, self.learning, self.processes
        set_rates(learning.optimiser, share_at(number, config))
        learning.optimiser.zero_grad(set_to_none=True)
        for part in range(config.accumulate):
            batch = next(batches).to(processes.device)
            with self.model.precision():
                loss = self._loss(batch, (config.seed, 2, number, part, processes.rank))
            if not math.isfinite(loss.item()):
                raise TrainError(
                    f"the loss is {loss.item()} at step {number}: lower learning_rate, or use precision fp32 or bf16"
                )
            learning.scaler.scale(loss / config.accumulate).backward()
        parameters = self.parameters()
        # Before they are unscaled: an overflow in one process must be one in all.
        processes.average_gradients(parameters)
        learning.scaler.unscale_(learning.optimiser)
        nn.utils.clip_grad_norm_(parameters, config.clip_gradient)
        learning.scaler.step(learning.optimiser)
        learning.scaler.update()

    def parameters(self) -> list[nn.Parameter]:
        bridge = [] if self.bridge is None else self.bridge.parameters()
        return list(chain(self.model.parameters(), bridge))

    def _loss(self, batch: TrainBatch, seed: Sequence[int]) -> torch.Tensor:
        """Summed over frames and answers, per object of the average process."""
        config = self.config
        features = self._features(batch)
        plan = draw_plan(np.random.default_rng(seed), config, batch.visible_tm.cpu().numpy())
        followed = follow(
            self.model,
            features,
            batch,
            plan,
            config.correction_clicks,
            self.mask_loss,
            seed,
            config.checkpoint_gradients,
        )
        objects = self.processes.total(len(batch.clip_m)) / self.processes.count
        loss = followed.terms_4.sum() / objects
        self.sums.add(loss=followed.terms_4.sum().item(), answers=followed.answers)
        self.sums.add(**dict(zip(TERMS, followed.terms_4.tolist(), strict=True)))
        self._add_iou(batch, followed)
        if self.teacher is not None:
            loss = loss + self._resemble(batch, features, followed, objects)
        self.last = batch, followed.logits_tmhw
        return loss

    def _features(self, batch: TrainBatch) -> ImageFeatures:
        if self.cache is not None:
            return self.cache.load(list(chain.from_iterable(batch.keys_bt)), self.processes.device)
        assert batch.images_bt3hw is not None
        b, t = batch.images_bt3hw.shape[:2]
        images = resized(batch.images_bt3hw.flatten(0, 1), self.model.config.image_size).unflatten(0, (b, t))
        if self.config.freeze_encoder:
            with torch.no_grad():
                return encode_frames(self.model, images, frame_by_frame=False)
        return encode_frames(self.model, images, self.config.checkpoint_gradients)

    def _resemble(
        self, batch: TrainBatch, features: ImageFeatures, followed: Followed, objects: float
    ) -> torch.Tensor:
        assert self.teacher is not None
        assert batch.images_bt3hw is not None
        weights = self.config.teacher
        theirs = self.teacher.look(batch.images_bt3hw)
        visible = batch.visible_tm
        masks = [
            mask_resemblance(ours, self.teacher.mask_logits(theirs, batch, frame), visible[frame])
            for frame, ours in followed.candidates.items()
        ]
        loss = torch.stack(masks).sum() / objects if masks else followed.terms_4.new_zeros(())
        asked = max(1, len(masks)) * len(batch.clip_m)
        self.sums.add(teacher_mask=loss.item() * objects / asked * followed.answers)
        loss = weights.mask_weight * loss
        if self.bridge is not None:
            difference = self.bridge(features, theirs)
            self.sums.add(teacher_features=difference.item() * followed.answers)
            loss = loss + weights.feature_weight * difference
        return loss

    @torch.no_grad()
    def _add_iou(self, batch: TrainBatch, followed: Followed) -> None:
        truth = nn.functional.avg_pool2d(batch.masks_tmhw.float(), 4)
        visible = batch.visible_tm[1:]
        iou = mask_iou(followed.logits_tmhw, truth)[1:][visible]
        self.sums.add(iou_tracked=float(iou.sum()), seen=float(visible.sum()))
