"""What a training run is told. Frozen numbers; does not know how they are used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """One run on rendered clips.

    The learning rate warms up, stays, and decays linearly over the last `decay_share` of `steps`: a run can be
    prolonged by resuming it with more steps.

    Attributes:
        model: family member to train.
        start: weights to start from, a name or path as `weights.load_model` takes it; empty: from scratch.
        steps: optimiser steps in all.
        clips: clips per step.
        short_steps: first steps, on clips of `short_frames` only.
        frames: frames per clip afterwards.
        objects: labelled objects per clip.
        learning_rate: peak, AdamW.
        teacher_steps: over these steps the share of clips whose memory holds the true mask instead of the
            predicted one falls from 1 to `teacher_floor`.
        balance_steps: over these steps the weight of object pixels falls from balanced (1) to `balance_floor`,
            see `losses.weighted_cross_entropy`: location first, then outlines.
        first_clip_seed: clip k of the run is rendered from seed `first_clip_seed` + k.
        validation_clips: held-out clips, rendered from seeds counted down from `first_clip_seed`.
    """

    model: str = "nano"
    start: str = ""
    steps: int = 6000
    clips: int = 4
    short_steps: int = 900
    short_frames: int = 1
    frames: int = 4
    objects: int = 3
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    warmup_steps: int = 40
    decay_share: float = 0.25
    clip_gradient: float = 1.0
    teacher_steps: int = 2000
    teacher_floor: float = 0.2
    balance_steps: int = 2300
    balance_floor: float = 0.2
    ema: float = 0.998
    seed: int = 0
    first_clip_seed: int = 1_000_000
    validation_clips: int = 8
    validation_frames: int = 8
    checkpoint_every: int = 200
    log_every: int = 20
    threads: int = 2
    render_workers: int = 1

    def learning_rate_at(self, step: int) -> float:
        decay_start = self.steps * (1 - self.decay_share)
        rising = min(1.0, (step + 1) / self.warmup_steps)
        falling = min(1.0, (self.steps - step) / max(1.0, self.steps - decay_start))
        return self.learning_rate * min(rising, max(falling, 0.02))

    def teacher_share_at(self, step: int) -> float:
        return max(self.teacher_floor, 1 - step / max(1, self.teacher_steps))

    def balance_at(self, step: int) -> float:
        return max(self.balance_floor, 1 - (1 - self.balance_floor) * step / max(1, self.balance_steps))
