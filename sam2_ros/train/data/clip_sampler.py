# SPDX-License-Identifier: Apache-2.0
"""Samples training clips from annotated sequences: frames, objects and augmentation.

Clip k of a run is always the same. Knows neither the files of sequences nor the model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from sam2_ros.datasets.sequence import FrameTruth, VosSequence
from sam2_ros.errors import UserError
from sam2_ros.train.train_config import AugmentConfig, FinetuneConfig

from .augment import augment_frame, augment_mask, draw_augmentation
from .batch import MIN_VISIBLE_PX, ClipBatch, FeatureKey, TrainingClip, make_batch

ATTEMPTS = 8


class NothingVisible(UserError):
    """No annotated frame of a sequence shows an object."""


class ClipSampler:
    """Samples clip k of a run.

    Args:
        size: side of the masks, pixels.
        picture_size: side of the images, pixels; 0: no images are read.
    """

    def __init__(
        self, sequences: Sequence[VosSequence], config: FinetuneConfig, size: int, picture_size: int
    ) -> None:
        self.sequences, self.config, self.size, self.picture_size = sequences, config, size, picture_size

    def __call__(self, k: int) -> TrainingClip:
        rng = np.random.default_rng((self.config.seed, 1, k))
        sequence = self.sequences[int(rng.integers(len(self.sequences)))]
        for _ in range(ATTEMPTS):
            indices = self._indices(rng, sequence)
            if (clip := self._clip(rng, sequence, indices)) is not None:
                return clip
        for start in range(len(sequence.truth.indices)):  # for objects that are rarely visible
            if (clip := self._clip(rng, sequence, self._from(sequence, start))) is not None:
                return clip
        raise NothingVisible(
            f"sequence '{sequence.name}': no mask has an object of {MIN_VISIBLE_PX} pixels or more at "
            f"{self.size}x{self.size}"
        )

    def _indices(self, rng: np.random.Generator, sequence: VosSequence) -> list[int]:
        config, annotated = self.config, sequence.truth.indices
        step = int(rng.integers(1, config.frame_step + 1))
        start = int(rng.integers(max(1, len(annotated) - step * (config.frames - 1))))
        chosen = [annotated[i] for i in _there_and_back(start, step, len(annotated), config.frames)]
        return chosen[::-1] if rng.random() < config.reverse else chosen

    def _from(self, sequence: VosSequence, start: int) -> list[int]:
        annotated = sequence.truth.indices
        return [annotated[i] for i in _there_and_back(start, 1, len(annotated), self.config.frames)]

    def _clip(
        self, rng: np.random.Generator, sequence: VosSequence, indices: list[int]
    ) -> TrainingClip | None:
        config = self.config
        augment = config.augment
        if not self.picture_size:  # features are cached for the plain and the mirrored image only
            augment = AugmentConfig(flip=augment.flip, rotation_deg=0, shear_deg=0)
        augmentation = draw_augmentation(rng, augment, len(indices))
        frames = [sequence.image(i) for i in indices] if self.picture_size else None
        truths = [_truth(sequence, i, frames[t] if frames else None) for t, i in enumerate(indices)]
        upright = replace(augmentation, linear=np.eye(2))  # a rotation may move every object out of the image
        for moved in (augmentation, upright):
            first = {name: augment_mask(mask, self.size, moved) for name, mask in truths[0].masks.items()}
            shown = [name for name, mask in first.items() if mask.sum() >= MIN_VISIBLE_PX]
            if shown:
                break
        else:
            return None
        chosen = sorted(rng.choice(len(shown), min(config.objects, len(shown)), replace=False).tolist())
        masks = np.stack(
            [[augment_mask(truth.mask(shown[i]), self.size, moved) for i in chosen] for truth in truths]
        )
        keys = tuple(FeatureKey(sequence, i, moved.mirrored) for i in indices)
        if frames is None:
            return TrainingClip(None, masks, keys)
        pictures = [augment_frame(f, self.picture_size, moved, t) for t, f in enumerate(frames)]
        return TrainingClip(np.stack(pictures), masks, keys)


def _truth(sequence: VosSequence, index: int, frame_hwc: np.ndarray | None) -> FrameTruth:
    """The masks of an annotated frame; checked against the frame's size if the frame was read."""
    truth = sequence.truth.at(index) if frame_hwc is None else sequence.annotated(index, frame_hwc)
    assert truth is not None
    return truth


def _there_and_back(start: int, step: int, length: int, count: int) -> list[int]:
    """`count` positions from `start` on; at the end of a short sequence the direction reverses."""
    period = max(1, 2 * (length - 1))
    return [length - 1 - abs(length - 1 - (start + step * i) % period) for i in range(count)]


def batches(
    draw: Callable[[int], TrainingClip], numbers: Iterator[Sequence[int]], workers: int
) -> Iterator[ClipBatch]:
    """A batch for each list of clip numbers, in order, prepared ahead by threads."""
    pending: deque[list[Future[TrainingClip]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="clips") as pool:
        try:
            for chosen in numbers:
                pending.append([pool.submit(draw, k) for k in chosen])
                if len(pending) > 2:
                    yield make_batch([future.result() for future in pending.popleft()])
            while pending:
                yield make_batch([future.result() for future in pending.popleft()])
        finally:
            for future in (f for futures in pending for f in futures):
                future.cancel()
