# SPDX-License-Identifier: Apache-2.0
"""Training batches of rendered clips, made ahead in worker processes.

Knows the renderer and the model's input; does not know losses or prompts. `device_clips` draws clips on the training
device instead.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sam2_ros.datasets.photographs import INSTANCES, is_photographs, open_photographs
from sam2_ros.errors import UserError
from sam2_ros.synthetic.clip import ClipConfig
from sam2_ros.synthetic.photographs.bank import PhotographBank
from sam2_ros.synthetic.render import render_clip
from sam2_ros.train.data.batch import ClipBatch, TrainingClip, make_batch

SIZE_RANGE = (0.08, 0.75)  # of the image; below a tenth, an object is smaller than two cells of the memory
MOTION_SCALE = (1.0, 2.5)  # with slow motion only, a model learns only to copy the last mask
LONG_PROBABILITY, LONGEST_CLIP = 0.85, 60  # only some frames are drawn: objects reappear at another place
HIDE_PROBABILITY = 0.8  # high, because the object score learns only from the few frames with hidden objects


VARIED = ClipConfig(
    size_range=SIZE_RANGE,
    hide_probability=HIDE_PROBABILITY,
    distractors=3,
    occluders=1,
    assemblies=0.6,  # things of parts that look different, like real things
    turning=0.3,
    approaching=0.3,
    fast=0.2,
    chasing=0.35,
    rolling_shutter=0.3,
    twins=0.3,
    lighting=0.35,
    clutter=0.2,
    defocus=0.25,
    cuts=0.12,
)

# For photographs with instance masks, see `photograph_bank`: 40 % composites, 20 % cameras over a photograph, 40 %
# procedural clips of objects of several colours that turn and grow.
NATURAL = replace(
    VARIED,
    size_range=(SIZE_RANGE[0], 0.9),
    growing=0.25,
    multicoloured=0.5,
    turning=0.4,
)
COMPOSITES, PHOTO_CAMERA = 0.4, 0.2
STILL_COMPOSITES, STILL_PHOTOGRAPHS = 0.25, 0.45  # of the clips of one frame

POOL_BATCHES = 12


class ClipMaker(NamedTuple):
    """The functions that make clips: `work` runs in a worker process, the others in the training process.

    `draw`, `vary` and `stack` share one type of clip, a pair of frames and masks.
    """

    work: Callable[
        [int, int, int, int], Any
    ]  # seed, size, frames, objects -> data sent to the training process
    draw: Callable[[Any], Any]  # that data -> a clip
    vary: Callable[[Any, np.random.Generator], Any]  # a clip -> a random variation of it
    stack: Callable[[list[Any]], ClipBatch]  # clips -> a batch


def clip_batches(
    first_seed: int,
    clips: int,
    size: int,
    objects: int,
    frames_of_batch: Iterator[int],
    workers: int,
    reuse: int = 1,
    maker: ClipMaker | None = None,
) -> Iterator[ClipBatch]:
    """Batches in a fixed order: rendered clip k always comes from seed `first_seed` + k.

    Args:
        frames_of_batch: number of frames per clip, for each batch; its end ends the batches.
        workers: number of rendering processes, which work two batches ahead.
        reuse: number of uses of a rendered clip, as a `variation` except the first time. Only one clip in `reuse` of
            each batch is new, because rendering a clip takes as long as a training step on it.
        maker: default: clips are drawn by the workers.
    """
    work, draw, vary, stack = maker or IN_WORKERS
    rng = np.random.default_rng(first_seed)
    seed, asked_frames, ahead = first_seed, 0, 2
    pool: deque[Any] = deque(maxlen=POOL_BATCHES * clips)
    pending: deque[tuple[int, list[Future[Any]]]] = deque()

    def finish() -> ClipBatch:
        frames, futures = pending.popleft()
        if pool and len(pool[0][0]) != frames:
            pool.clear()
        fresh = [draw(future.result()) for future in futures]
        seen = [vary(pool[rng.integers(len(pool))], rng) for _ in range(clips - len(fresh))]
        pool.extend(fresh)
        return stack(fresh + seen)

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as processes:
        for frames in frames_of_batch:
            count = clips if frames != asked_frames else max(1, clips // reuse)
            asked_frames = frames
            futures = [processes.submit(work, s, size, frames, objects) for s in range(seed, seed + count)]
            pending.append((frames, futures))
            seed += count
            if len(pending) > ahead:
                yield finish()
        while pending:
            yield finish()


class Variation(NamedTuple):
    """A variation of a clip: mirrored, rotated by multiples of 90 degrees, channels permuted, contrast changed."""

    mirrored: bool
    quarter_turns: int
    tables: list[np.ndarray]  # [256] uint8: lookup tables of the new red, green and blue
    channels: np.ndarray  # [3]: source channel of each

    @staticmethod
    def random(rng: np.random.Generator) -> Variation:
        mirrored, turns = bool(rng.random() < 0.5), int(rng.integers(4))
        gain, offset = rng.uniform(0.7, 1.3, 3), rng.uniform(-30, 30)
        tables = [np.clip(np.arange(256) * g + offset, 0, 255).astype(np.uint8) for g in gain]
        return Variation(mirrored, turns, tables, rng.permutation(3))

    @staticmethod
    def natural(rng: np.random.Generator) -> Variation:
        """A variation of real-looking clips: upright, with nearly the same colours."""
        gain, offset = rng.uniform(0.85, 1.15) * rng.uniform(0.93, 1.07, 3), rng.uniform(-15, 15)
        tables = [np.clip(np.arange(256) * g + offset, 0, 255).astype(np.uint8) for g in gain]
        return Variation(bool(rng.random() < 0.5), 0, tables, np.arange(3))


def variation(clip: TrainingClip, rng: np.random.Generator) -> TrainingClip:
    """A random `Variation` of the clip."""
    return _varied(clip, Variation.random(rng))


def natural_variation(clip: TrainingClip, rng: np.random.Generator) -> TrainingClip:
    """A `Variation.natural` of the clip."""
    return _varied(clip, Variation.natural(rng))


def _varied(clip: TrainingClip, new: Variation) -> TrainingClip:
    frames, masks = clip.frames_thwc, clip.masks_tnhw
    assert frames is not None
    if new.mirrored:
        frames, masks = frames[:, :, ::-1], masks[..., ::-1]
    frames, masks = np.rot90(frames, new.quarter_turns, (1, 2)), np.rot90(masks, new.quarter_turns, (2, 3))
    channels = [table[frames[..., c]] for table, c in zip(new.tables, new.channels, strict=True)]
    return TrainingClip(np.stack(channels, axis=-1), np.ascontiguousarray(masks))


def rendered_batch(
    first_seed: int, clips: int, size: int, objects: int, frames: int, photographs: str = ""
) -> ClipBatch:
    """One batch, rendered in this process; `photographs` is the folder of `photograph_bank`."""
    return make_batch([_render(first_seed + k, size, frames, objects, photographs) for k in range(clips)])


def clip_config(seed: int, size: int, frames: int, objects: int, photographs: str = "") -> ClipConfig:
    """Configuration of the training clip with this seed: `frames` frames of a clip that may be longer.

    `VARIED`, or with a folder of photographs `NATURAL` and its shares of clips that show them.
    """
    # With photographs not the renderer's own stream: its first number decides the kind of the clip.
    rng = np.random.default_rng((seed, 1) if photographs else seed)
    length = int(rng.integers(frames, LONGEST_CLIP)) if rng.random() < LONG_PROBABILITY else frames
    if photographs and frames == 1:
        length = 1  # a photograph as it is
    return replace(
        natural_clips(photographs, frames) if photographs else VARIED,
        height_px=size,
        width_px=size,
        frames=length,
        times=start_middle_later(rng, length, frames),
        objects=objects,
        motion_scale=float(rng.uniform(*MOTION_SCALE)),
    )


def natural_clips(photographs: str, frames: int) -> ClipConfig:
    """`NATURAL` with the photographs of a folder. Clips of one frame have more photographs as they are."""
    shares = (STILL_COMPOSITES, STILL_PHOTOGRAPHS) if frames == 1 else (COMPOSITES, PHOTO_CAMERA)
    bank = photograph_bank(photographs)
    return replace(NATURAL, photographs=bank, composites=shares[0], photo_camera=shares[1])


@functools.lru_cache(maxsize=1)
def photograph_bank(photographs: str) -> PhotographBank:
    """Open a folder in COCO's layout, `images/` and `instances.json`, once per process; pixels are decoded on demand.

    Raises UserError: the folder is missing or broken, or no instance can be cut out.
    """
    folder = Path(photographs).expanduser()
    if not is_photographs(folder):
        raise UserError(
            f"photographs '{photographs}': no {INSTANCES} there; a folder with images/ and {INSTANCES} in COCO's "
            "layout expected"
        )
    return PhotographBank(open_photographs(folder), photographs)


def check_photographs(photographs: str) -> None:
    """Read every photograph of a folder once. Raises UserError as `photograph_bank`, and for an unreadable image."""
    photograph_bank(photographs).check()


def in_workers(photographs: str) -> ClipMaker:
    """Clips drawn by the workers, with the photographs of a folder if one is given."""
    if not photographs:
        return IN_WORKERS
    return ClipMaker(
        partial(_render, photographs=photographs), IN_WORKERS.draw, natural_variation, IN_WORKERS.stack
    )


def _render(seed: int, size: int, frames: int, objects: int, photographs: str = "") -> TrainingClip:
    clip = render_clip(seed, clip_config(seed, size, frames, objects, photographs))
    return TrainingClip(clip.frames, clip.masks)


IN_WORKERS = ClipMaker(_render, lambda clip: clip, variation, make_batch)


def start_middle_later(rng: np.random.Generator, length: int, frames: int) -> tuple[int, ...]:
    """Chooses `frames` of `length` positions: one or two at the start, the middle, the others close together after it.

    Objects that hide are hidden in the middle; later they are still hidden, reappear, or are visible at another place.
    """
    first = 1 if frames < 4 else 2
    later = frames - first - 1
    if later < 1:
        return tuple(range(frames))
    middle = min(max(first, length // 2), length - later - 1)
    gap = int(rng.integers(1, 1 + max(1, min(4, (length - 1 - middle) // later))))
    begin = int(rng.integers(middle + 1, length - gap * (later - 1)))
    return (*range(first), middle, *range(begin, begin + gap * later, gap))


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)
