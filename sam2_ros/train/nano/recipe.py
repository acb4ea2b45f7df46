# SPDX-License-Identifier: Apache-2.0
"""The recipe of nano: its phases and their numbers. Does not know how they are used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """A number of steps with clips of one shape.

    Attributes:
        steps: optimiser steps.
        image_size: side of the input in pixels. The same weights learn to locate objects several times faster at half
            the side.
        frames: frames per clip.
        clips: clips per step.
        learning_rate: peak rate of AdamW; see `NanoConfig.matrix_rate`. It warms up at the start of every phase.
        decays: the learning rate falls linearly to 2 % of its peak; otherwise it is constant after the warm-up.
        memory_alone: train only the parameters that clips of one frame do not train: an untrained memory would damage
            the trained encoder and decoder.
        single_frames: clips of one frame per step in addition, prompted and corrected as in `stills`: of photographs,
            if they are given.
        frozen: patterns of parameter names that are not trained, as in `fnmatch`.
        fresh: every clip is rendered anew instead of being used `NanoConfig.reuse` times: with long clips at a large
            input size, training takes much longer than rendering.
    """

    steps: int
    image_size: int
    frames: int
    clips: int
    learning_rate: float
    decays: bool = False
    memory_alone: bool = False
    fresh: bool = False
    single_frames: int = 0
    frozen: tuple[str, ...] = ()


NANO_PHASES = (
    Phase(1200, 128, frames=1, clips=32, learning_rate=6e-4),
    Phase(200, 128, frames=4, clips=12, learning_rate=6e-4, memory_alone=True),
    Phase(400, 128, frames=6, clips=10, learning_rate=4e-4),
    Phase(1400, 256, frames=5, clips=6, learning_rate=4e-4, decays=True, single_frames=8),
    Phase(1400, 256, frames=8, clips=4, learning_rate=2.5e-4, decays=True, single_frames=8),
    Phase(
        2000, 384, frames=8, clips=2, learning_rate=2e-4, decays=True, single_frames=8, fresh=True,
        frozen=("*.trunk.stem.*", "*.trunk.blocks.[0-4].*", "*.depthwise.*"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class NanoConfig:
    """One run on rendered clips: its phases, in order, and the settings that they share.

    Attributes:
        model: family member to train.
        start: initial weights, a name or path for `weights.load_model`; empty: from scratch. Of another model, the
            tensors that fit are used.
        encoder_weights: ImageNet weights of the image encoder, see `lite_weights`; empty: none.
        objects: labelled objects per clip.
        photographs: folder of photographs with instance masks in COCO's layout, from which most clips are made, see
            `clips.natural_clips`; empty: none. On a GPU too, worker processes then draw the clips.
        still_objects: objects per step that are prompted and corrected on a single frame without memory, see `stills`.
        reuse: number of uses of a rendered clip in phases that are not `fresh`, see `clips.clip_batches`.
        matrix_rate: factor of Muon's learning rate for matrices over AdamW's for the rest.
        grouping_weight: weight of the second loss, see `grouping_loss`.
        matching_weight: weight of the loss of the dense matching memory, see `matching_loss`; of models that have one.
        matched_frames: frames of each clip that are matched for it.
        every_candidate: see `train.losses.LossConfig.every_candidate`.
        unfused_share: share of the objects that are tracked without memory attention, see `rollout.roll_out`.
        pretrained_rate: factor on the learning rate of convolutions that start from ImageNet weights.
        teacher_steps: over these steps, the share of objects whose memory holds the true mask instead of the predicted
            one falls from 1 to `teacher_floor`.
        balance_steps: over these steps, the balance of object pixels falls from 1 to `balance_floor`, see
            `train.losses.weighted_cross_entropy`: the model learns locations first, then outlines.
        first_clip_seed: clip k of phase p is rendered from seed `first_clip_seed` * (p + 1) + k.
        sequences: datasets of stored sequences to mix with rendered clips, see `stored_clips`; empty: none.
        sequences_share: share of the clips that come from them, 0..1.
        validation_clips: number of held-out clips, rendered from the seeds just below `first_clip_seed`.
    """

    phases: tuple[Phase, ...] = NANO_PHASES
    model: str = "nano"
    start: str = ""
    encoder_weights: str = ""
    objects: int = 3
    photographs: str = ""
    still_objects: int = 24
    reuse: int = 4
    matrix_rate: float = 3.0
    grouping_weight: float = 1.0
    matching_weight: float = 1.0
    matched_frames: int = 3
    every_candidate: float = 0.25
    unfused_share: float = 0.0
    pretrained_rate: float = 0.1
    weight_decay: float = 0.05
    warmup_steps: int = 40
    clip_gradient: float = 1.0
    teacher_steps: int = 2600
    teacher_floor: float = 0.2
    balance_steps: int = 2000
    balance_floor: float = 0.2
    ema: float = 0.996
    seed: int = 0
    first_clip_seed: int = 1_000_000
    validation_clips: int = 8
    validation_frames: int = 8
    sequences: tuple[str, ...] = ()
    sequences_share: float = 0.3
    checkpoint_every: int = 100
    log_every: int = 20
    threads: int = 2
    render_workers: int = 1

    def rate_share_at(self, phase: Phase, step: int) -> float:
        """Share of the phase's learning rate; `step` counts from the start of the phase."""
        rising = min(1.0, (step + 1) / self.warmup_steps)
        falling = (phase.steps - step) / phase.steps if phase.decays else 1.0
        return min(rising, max(falling, 0.02))

    def teacher_share_at(self, step: int) -> float:
        return max(self.teacher_floor, 1 - step / max(1, self.teacher_steps))

    def balance_at(self, step: int) -> float:
        return max(self.balance_floor, 1 - (1 - self.balance_floor) * step / max(1, self.balance_steps))
