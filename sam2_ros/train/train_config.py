# SPDX-License-Identifier: Apache-2.0
"""Settings of a fine-tuning run, and their defaults by model size.

Frozen and validated once; does not know files or how the settings are used.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sam2_ros.engine.model.sam2 import PRECISIONS
from sam2_ros.errors import UserError

PROMPTS = ("mask", "box", "click")
MASK_LOSSES = ("focal", "balanced")


@dataclass(frozen=True)
class SizeDefaults:
    """Rates of one model size. `layer_decay`: factor on the encoder's rate per block, from the last to the first."""

    learning_rate: float
    encoder_rate: float
    layer_decay: float


# nano: found by trial on rendered clips. The others: the rates of SAM 2's own fine-tuning configuration, the decay of
# the paper. Models that are not listed use tiny's.
SIZES = {
    "nano": SizeDefaults(2e-4, 1e-4, 0.9),
    "nano1": SizeDefaults(2e-4, 1e-4, 0.9),
    "tiny": SizeDefaults(5e-6, 3e-6, 0.8),
    "small": SizeDefaults(5e-6, 3e-6, 0.8),
    "base_plus": SizeDefaults(5e-6, 3e-6, 0.9),
    "large": SizeDefaults(5e-6, 3e-6, 0.925),
}


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of clips; the masks are transformed with the images.

    Attributes:
        flip: probability of mirroring the clip.
        rotation_deg, shear_deg: largest angles in degrees, drawn once per clip.
        clip_jitter: largest relative changes of brightness, contrast and saturation, drawn once per clip.
        frame_jitter: the same, drawn once per frame in addition.
        grey: probability of a clip without colour.
    """

    flip: float = 0.5
    rotation_deg: float = 25.0
    shear_deg: float = 20.0
    clip_jitter: tuple[float, ...] = (0.1, 0.03, 0.03)
    frame_jitter: tuple[float, ...] = (0.1, 0.05, 0.05)
    grey: float = 0.05

    def __post_init__(self) -> None:
        for name in ("flip", "grey"):
            _check(f"augment: {name}", getattr(self, name), 0 <= getattr(self, name) <= 1, "0..1")
        _check("augment: rotation_deg", self.rotation_deg, 0 <= self.rotation_deg <= 180, "0..180")
        _check("augment: shear_deg", self.shear_deg, 0 <= self.shear_deg < 60, "0..60")
        for name in ("clip_jitter", "frame_jitter"):
            value = getattr(self, name)
            good = len(value) == 3 and all(0 <= v < 1 for v in value)
            _check(
                f"augment: {name}", value, good, "[brightness, contrast, saturation], each from 0 to below 1"
            )


@dataclass(frozen=True)
class TeacherConfig:
    """A teacher model, which the trained model learns to reproduce (distillation).

    Attributes:
        model: name or path of the teacher; empty: none.
        mask_weight: weight of the difference between the masks of both, with the true box as prompt on every frame.
        feature_weight: weight of the difference between the teacher's image features and a projection of the model's.
    """

    model: str = ""
    mask_weight: float = 1.0
    feature_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("mask_weight", "feature_weight"):
            _check(f"teacher: {name}", getattr(self, name), getattr(self, name) >= 0, ">= 0")


COUNTS = (
    *("validation_frames", "frames", "objects", "frame_step", "steps", "clips", "accumulate"),
    *("validate_every", "checkpoint_every", "picture_every", "log_every", "workers"),
)
NOT_NEGATIVE = (
    *("validation_sequences", "learning_rate", "encoder_rate", "weight_decay", "warmup_steps"),
    *("corrected_frames", "correction_clicks", "seed", "threads"),
)


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of one run. Only `data` and `out` are required.

    Attributes:
        data: datasets, each in one of the layouts of `datasets`.
        out: folder for weights, checkpoint, log and pictures; an interrupted run resumes from it.
        model: name or path of the initial weights.
        random_weights: start from seeded random weights of the size `model` instead.
        validation_data: datasets of held-out sequences.
        validation_sequences: without `validation_data`: number of sequences of `data` to hold out.
        validation_prompt: prompt on the first frame of each object: box, mask or click.
        validation_frames: most frames of each held-out sequence, from its start.
        image_size: side of the input in pixels; 0: the model's default, at which it will be used.
        frames: frames per clip.
        objects: most objects per clip.
        frame_step: largest step between the frames of a clip, in annotated frames; drawn from 1 on.
        reverse: probability of a clip that runs backward.
        steps: optimiser steps.
        clips: clips per pass and process.
        accumulate: passes per step, whose gradients are averaged.
        learning_rate: peak rate of everything but the image encoder; 0: by model size, see `SIZES`.
        encoder_rate: peak rate of the last block of the image encoder; 0: by model size.
        layer_decay: see `SizeDefaults`; 0: by model size.
        warmup_steps: steps in which the rates rise; after them they fall as a cosine to `final_share` of the peak.
        mask_loss: "focal", as SAM 2, or "balanced", as nano from scratch; empty: focal, with random weights balanced.
        mask_share, click_share: shares of the first prompts, 0..1; the rest are boxes.
        conditioning_frames: most frames prompted from the start.
        corrected_frames: most frames with corrective clicks; 0: none.
        correction_clicks: number of clicks on each of them.
        checkpoint_gradients: store the activations of one frame at a time: less memory, a third more time.
        freeze_encoder: do not train the image encoder.
        cache_features: with `freeze_encoder`: compute the features of every frame once, into OUT/features, float16.
            Images are then augmented by mirroring only.
        device: auto, cpu, cuda, cuda:N.
        precision: fp32, bf16, fp16, or auto (bf16 on a GPU that has it, else fp32).
        validate_every, checkpoint_every, picture_every, log_every: in steps.
        workers: threads that read and augment clips ahead.
        threads: threads of PyTorch on the CPU; 0: PyTorch's default.
    """

    data: tuple[str, ...]
    out: str
    model: str = "nano"
    random_weights: bool = False
    validation_data: tuple[str, ...] = ()
    validation_sequences: int = 1
    validation_prompt: str = "box"
    validation_frames: int = 100
    image_size: int = 0
    frames: int = 8
    objects: int = 3
    frame_step: int = 1
    reverse: float = 0.5
    steps: int = 1000
    clips: int = 1
    accumulate: int = 1
    learning_rate: float = 0.0
    encoder_rate: float = 0.0
    layer_decay: float = 0.0
    weight_decay: float = 0.1
    warmup_steps: int = 20
    final_share: float = 0.1
    clip_gradient: float = 0.1
    mask_loss: str = ""
    mask_share: float = 0.5
    click_share: float = 0.25
    conditioning_frames: int = 2
    corrected_frames: int = 2
    correction_clicks: int = 7
    checkpoint_gradients: bool = False
    freeze_encoder: bool = False
    cache_features: bool = False
    device: str = "auto"
    precision: str = "auto"
    validate_every: int = 100
    checkpoint_every: int = 50
    picture_every: int = 100
    log_every: int = 10
    seed: int = 0
    workers: int = 2
    threads: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)

    def __post_init__(self) -> None:
        _check(
            "data", self.data, all(self.data) and bool(self.data), "a folder of sequences, or a list of them"
        )
        _check("out", self.out, bool(self.out), "a folder for the results")
        _check("model", self.model, bool(self.model), "nano, tiny, small, base_plus, large, or a path")
        for name in COUNTS:
            _check(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")
        for name in NOT_NEGATIVE:
            _check(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for name in ("reverse", "final_share", "mask_share", "click_share", "layer_decay"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "0..1")
        _check(
            "mask_share + click_share",
            self.mask_share + self.click_share,
            self.box_share >= -1e-9,
            "at most 1",
        )
        _check("clip_gradient", self.clip_gradient, self.clip_gradient > 0, "above 0")
        _check("conditioning_frames", self.conditioning_frames, 1 <= self.conditioning_frames <= 4, "1..4")
        size = self.image_size
        _check(
            "image_size",
            size,
            size == 0 or (size >= 64 and size % 32 == 0),
            "0 or a multiple of 32 from 64 on",
        )
        _one_of("validation_prompt", self.validation_prompt, PROMPTS)
        _one_of("mask_loss", self.mask_loss, ("", *MASK_LOSSES))
        _one_of("precision", self.precision, ("auto", *PRECISIONS))
        if self.cache_features and not self.freeze_encoder:
            raise UserError(
                "cache_features: the features of a trained encoder change; set freeze_encoder: true"
            )
        if self.cache_features and self.teacher.model:
            raise UserError(
                "teacher: it needs images, which cache_features does not read; use one or the other"
            )
        if self.freeze_encoder and self.teacher.model and self.teacher.feature_weight:
            raise UserError(
                "teacher: a frozen encoder cannot learn the teacher's features; set feature_weight: 0"
            )

    @property
    def box_share(self) -> float:
        return 1 - self.mask_share - self.click_share


def _check(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise UserError(f"{name}: {value!r} given, {expected} expected")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    _check(name, value, value in known, f"one of {', '.join(k for k in known if k)}")
