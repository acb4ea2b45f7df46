"""Draws training clips from annotated sequences: which frames, which objects, how they are varied.

Clip k of a run is always the same. Knows sequences, not how they lie on disk; does not know the model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from sam2_ros.datasets.sequence import FrameTruth, VosSequence
from sam2_ros.engine.preprocess import normalize

from ..train_config import AugmentConfig, FinetuneConfig, TrainConfigError
from .augment import Variation, draw_variation, still, vary_frame, vary_mask

LEAST_PX = 8  # of an object at the input's size: half a cell of the masks, which lie at stride 4
ATTEMPTS = 8


class FrameKey(NamedTuple):
    """One picture of a clip, by which its features are found again."""

    sequence: VosSequence
    frame: int
    mirrored: bool


@dataclass(frozen=True)
class DrawnClip:
    """t frames and n objects, all of which show on the first frame."""

    masks_tnhw: np.ndarray  # [t, n, S, S] bool
    keys: tuple[FrameKey, ...]
    frames_thwc: np.ndarray | None  # [t, D, D, 3] uint8; None where features are cached


class TrainBatch(NamedTuple):
    """b clips of t frames; their objects one after the other, m in all."""

    masks_tmhw: torch.Tensor  # [t, m, S, S] bool
    clip_m: torch.Tensor  # [m] index of each object's clip
    images_bt3hw: torch.Tensor | None  # [b, t, 3, D, D] normalised
    keys_bt: tuple[tuple[FrameKey, ...], ...]

    def to(self, device: torch.device) -> TrainBatch:
        images = None if self.images_bt3hw is None else self.images_bt3hw.to(device)
        return self._replace(
            masks_tmhw=self.masks_tmhw.to(device), clip_m=self.clip_m.to(device), images_bt3hw=images
        )

    @property
    def visible_tm(self) -> torch.Tensor:
        return shows(self.masks_tmhw)


def shows(masks: torch.Tensor) -> torch.Tensor:
    """``[..., S, S]`` bool -> ``[...]`` bool: at least half a cell of the object is there."""
    return masks.flatten(-2).sum(dim=-1) >= LEAST_PX


class ClipDrawer:
    """Draws clip k of a run.

    Args:
        size: side of the masks, pixels.
        picture_size: side of the pictures; 0: none are read.
    """

    def __init__(
        self, footage: Sequence[VosSequence], config: FinetuneConfig, size: int, picture_size: int
    ) -> None:
        self.footage, self.config, self.size, self.picture_size = footage, config, size, picture_size

    def __call__(self, k: int) -> DrawnClip:
        rng = np.random.default_rng((self.config.seed, 1, k))
        sequence = self.footage[int(rng.integers(len(self.footage)))]
        for _ in range(ATTEMPTS):
            indices = self._indices(rng, sequence)
            if (clip := self._clip(rng, sequence, indices)) is not None:
                return clip
        for start in range(len(sequence.truth.indices)):  # objects that show rarely
            if (clip := self._clip(rng, sequence, self._from(sequence, start))) is not None:
                return clip
        raise TrainConfigError(
            f"sequence '{sequence.name}': no mask shows an object of {LEAST_PX} pixels or more at "
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

    def _clip(self, rng: np.random.Generator, sequence: VosSequence, indices: list[int]) -> DrawnClip | None:
        config = self.config
        augment = config.augment
        if not self.picture_size:  # features are of the plain picture or its mirror image
            augment = AugmentConfig(flip=augment.flip, rotation_deg=0, shear_deg=0)
        variation = draw_variation(rng, augment, len(indices))
        frames = [sequence.image(i) for i in indices] if self.picture_size else None
        truths = [_truth(sequence, i, frames[t] if frames else None) for t, i in enumerate(indices)]
        for moved in (variation, still(variation)):  # a turn may push every object out of the picture
            first = {name: vary_mask(mask, self.size, moved) for name, mask in truths[0].masks.items()}
            shown = [name for name, mask in first.items() if mask.sum() >= LEAST_PX]
            if shown:
                break
        else:
            return None
        chosen = sorted(rng.choice(len(shown), min(config.objects, len(shown)), replace=False).tolist())
        masks = np.stack(
            [[vary_mask(truth.mask(shown[i]), self.size, moved) for i in chosen] for truth in truths]
        )
        keys = tuple(FrameKey(sequence, i, moved.mirrored) for i in indices)
        return DrawnClip(masks, keys, self._pictures(frames, moved))

    def _pictures(self, frames: list[np.ndarray] | None, variation: Variation) -> np.ndarray | None:
        if frames is None:
            return None
        return np.stack([vary_frame(f, self.picture_size, variation, t) for t, f in enumerate(frames)])


def _truth(sequence: VosSequence, index: int, frame_hwc: np.ndarray | None) -> FrameTruth:
    """Of an annotated frame, in its size where the frame was read."""
    truth = sequence.truth.at(index) if frame_hwc is None else sequence.annotated(index, frame_hwc)
    assert truth is not None
    return truth


def _there_and_back(start: int, step: int, length: int, count: int) -> list[int]:
    """`count` positions from `start` on; at the end of a sequence that is too short they turn round."""
    period = max(1, 2 * (length - 1))
    return [length - 1 - abs(length - 1 - (start + step * i) % period) for i in range(count)]


def make_batch(clips: Sequence[DrawnClip]) -> TrainBatch:
    """Clips of one length, side by side."""
    masks = torch.from_numpy(np.concatenate([clip.masks_tnhw for clip in clips], axis=1))
    owners = torch.tensor([b for b, clip in enumerate(clips) for _ in range(clip.masks_tnhw.shape[1])])
    images = None
    frames = [clip.frames_thwc for clip in clips if clip.frames_thwc is not None]
    if frames:
        pixels = torch.from_numpy(np.stack(frames))
        images = normalize(pixels.flatten(0, 1).permute(0, 3, 1, 2).float() / 255).unflatten(
            0, pixels.shape[:2]
        )
    return TrainBatch(masks, owners, images, tuple(clip.keys for clip in clips))


def batches(
    draw: Callable[[int], DrawnClip], numbers: Iterator[Sequence[int]], workers: int
) -> Iterator[TrainBatch]:
    """A batch for each list of clip numbers, drawn ahead by threads, in order."""
    pending: deque[list[Future[DrawnClip]]] = deque()
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
