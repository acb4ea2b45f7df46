# SPDX-License-Identifier: Apache-2.0
"""Training clips from stored sequences with masks, mixed with rendered clips.

Knows sequences and the makers of clips; does not know how sequences were made, or losses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sam2_ros.datasets.sequence import FrameTruth, SequenceFrames, Truth, VosSequence
from sam2_ros.errors import UserError
from sam2_ros.train.data.batch import TrainingClip
from sam2_ros.train.data.clip_sampler import ClipSampler, NothingVisible
from sam2_ros.train.data.sequences import open_sequences
from sam2_ros.train.train_config import AugmentConfig, FinetuneConfig

from .clips import ClipMaker

FRAME_STEP = 3  # largest step between the frames of a clip
CROPPED_SHARE, SMALLEST_CROP = 0.7, 0.6
MIN_AREA_SHARE = 0.001  # of the image: the least of each object on the first frame, which is prompted
ATTEMPTS = 30
AUGMENT = AugmentConfig(rotation_deg=0.0, shear_deg=0.0)  # a rotation would show black corners


@dataclass(frozen=True)
class StoredClips:
    """Draws clip k: random sequence, start, step, direction, window, mirroring and colours.

    All clips of a batch have the same number of objects. Sequences that show fewer on their first annotated frame are
    not used.

    Attributes:
        folders: datasets in any layout of `datasets`.
    """

    folders: tuple[str, ...]

    def check(self, objects: int) -> None:
        """Raises UserError for folders without sequences, and if no sequence has `objects` objects."""
        _sequences(self.folders, objects)

    def __call__(self, k: int, size: int, frames: int, objects: int) -> TrainingClip:
        """The clip: `frames` frames at `size` px with `objects` objects, all visible on the first. Raises UserError."""
        sequences = _sequences(self.folders, objects)
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng((k, 2, attempt))
            sequence = _cropped(rng, sequences[int(rng.integers(len(sequences)))])
            config = FinetuneConfig(
                data=self.folders,
                out="unused",
                frames=frames,
                objects=objects,
                frame_step=FRAME_STEP,
                augment=AUGMENT,
                seed=attempt,
            )
            try:
                clip = ClipSampler([sequence], config, size, size)(k)
            except NothingVisible:
                continue
            shown = (clip.masks_tnhw[0].mean(axis=(1, 2)) >= MIN_AREA_SHARE).sum()
            if shown == objects:
                return TrainingClip(clip.frames_thwc, clip.masks_tnhw)
        raise UserError(
            f"sequences: {ATTEMPTS} draws from {len(sequences)} sequences found no frame with {objects} visible "
            "objects; expected sequences in which that is common, or a smaller number `objects`"
        )


@functools.lru_cache(maxsize=2)
def _sequences(folders: tuple[str, ...], objects: int) -> tuple[VosSequence, ...]:
    every = open_sequences(folders)
    enough = tuple(s for s in every if len(s.truth.at(s.truth.indices[0]).masks) >= objects)
    if not enough:
        raise UserError(
            f"sequences: none of the {len(every)} sequences in {', '.join(folders)} shows {objects} objects on its "
            "first annotated frame; expected at least one, or a smaller number `objects`"
        )
    return enough


class _Stored(NamedTuple):
    clip: TrainingClip


def with_stored(
    maker: ClipMaker, stored: StoredClips, share: float, upload: Callable[[TrainingClip], Any] | None = None
) -> ClipMaker:
    """A maker whose clips come from `stored` for that share of the seeds, evenly spread, and else from `maker`.

    Args:
        upload: makes of a stored clip what `maker.draw` returns; None: they are the same.
    """
    work = partial(_work, maker.work, stored, share)
    return maker._replace(work=work, draw=partial(_draw, maker.draw, upload))


def is_stored(seed: int, share: float) -> bool:
    return int((seed + 1) * share) > int(seed * share)


def _work(
    rendered: Callable[..., Any],
    stored: StoredClips,
    share: float,
    seed: int,
    size: int,
    frames: int,
    objects: int,
) -> Any:
    if is_stored(seed, share):
        return _Stored(stored(seed, size, frames, objects))
    return rendered(seed, size, frames, objects)


def _draw(draw: Callable[[Any], Any], upload: Callable[[TrainingClip], Any] | None, made: Any) -> Any:
    if isinstance(made, _Stored):
        return made.clip if upload is None else upload(made.clip)
    return draw(made)


@dataclass(frozen=True)
class _Window:
    """A rectangle as shares of the image: its upper left corner and the share of each side."""

    top: float
    left: float
    side: float

    def of(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        y, x = round(self.top * height), round(self.left * width)
        return image[y : y + max(1, round(self.side * height)), x : x + max(1, round(self.side * width))]


@dataclass(frozen=True)
class _CroppedFrames:
    frames: SequenceFrames
    window: _Window

    @property
    def names(self) -> tuple[str, ...]:
        return self.frames.names

    def at(self, index: int) -> np.ndarray:
        return self.window.of(self.frames.at(index))

    def identity(self) -> Iterator[str]:
        yield repr(self.window)
        yield from self.frames.identity()


@dataclass(frozen=True)
class _CroppedTruth:
    truth: Truth
    window: _Window

    @property
    def indices(self) -> tuple[int, ...]:
        return self.truth.indices

    def at(self, index: int) -> FrameTruth:
        whole = self.truth.at(index)
        masks = {name: self.window.of(mask) for name, mask in whole.masks.items()}
        height, width = self.window.of(np.empty(whole.hw, bool)).shape
        void = None if whole.void_hw is None else self.window.of(whole.void_hw)
        return FrameTruth({n: m for n, m in masks.items() if m.any()}, (height, width), void, whole.file)

    def identity(self) -> Iterator[str]:
        yield repr(self.window)
        yield from self.truth.identity()


def _cropped(rng: np.random.Generator, sequence: VosSequence) -> VosSequence:
    """The sequence in a random window, the same for all frames; sometimes whole."""
    if rng.random() >= CROPPED_SHARE:
        return sequence
    side = float(rng.uniform(SMALLEST_CROP, 1))
    top, left = (float(v) for v in rng.uniform(0, 1 - side, 2))
    window = _Window(top, left, side)
    return replace(
        sequence,
        frames=_CroppedFrames(sequence.frames, window),
        truth=_CroppedTruth(sequence.truth, window),
    )
