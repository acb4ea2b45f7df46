# SPDX-License-Identifier: Apache-2.0
"""Training batches of rendered clips, made ahead in worker processes.

Knows the renderer and the model's input; does not know losses or prompts. Where clips are drawn on the device that
learns, see `device_clips`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from sam2_ros.synthetic.clip import ClipConfig
from sam2_ros.synthetic.render import render_clip
from sam2_ros.train.data.batch import ClipBatch, TrainingClip, make_batch

SIZE_RANGE = (0.08, 0.75)  # of the image; at less than a tenth an object is under two cells of the memory
MOTION_SCALE = (1.0, 2.5)  # with slow motion only, copying the last mask is all that a model learns
LONG_PROBABILITY, LONGEST_CLIP = 0.85, 60  # of which only some frames are drawn: what comes back is elsewhere
HIDE_PROBABILITY = 0.8  # hidden frames are few, and the object score learns from nothing else


VARIED = ClipConfig(
    size_range=SIZE_RANGE,
    hide_probability=HIDE_PROBABILITY,
    distractors=3,
    occluders=1,
    assemblies=0.6,  # of parts that look different, as real things are
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

POOL_BATCHES = 12


class ClipMaker(NamedTuple):
    """How clips come about: `work` in a worker process, the rest in the process that learns.

    What is drawn, varied and stacked is a pair of frames and masks, of whichever kind these four share.
    """

    work: Callable[[int, int, int, int], Any]  # seed, size, frames, objects -> what travels between processes
    draw: Callable[[Any], Any]  # what came -> a clip
    vary: Callable[[Any, np.random.Generator], Any]  # a clip -> another one of the same things
    stack: Callable[[list[Any]], ClipBatch]


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
        frames_of_batch: clip length of each batch; ends the run when it ends.
        workers: rendering processes, which stay two batches ahead.
        reuse: times that a rendered clip is used, a `variation` of it each time but the first. Rendering takes
            as long as learning from it; of each batch only one clip in `reuse` is new.
        maker: left out: workers draw.
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
    """Another view of the same things: mirrored, turned by quarters, colours exchanged and their contrast changed."""

    mirrored: bool
    quarter_turns: int
    tables: list[np.ndarray]  # of the new red, green, blue: [256] uint8
    channels: np.ndarray  # [3], where these come from

    @staticmethod
    def random(rng: np.random.Generator) -> Variation:
        mirrored, turns = bool(rng.random() < 0.5), int(rng.integers(4))
        gain, offset = rng.uniform(0.7, 1.3, 3), rng.uniform(-30, 30)
        tables = [np.clip(np.arange(256) * g + offset, 0, 255).astype(np.uint8) for g in gain]
        return Variation(mirrored, turns, tables, rng.permutation(3))


def variation(clip: TrainingClip, rng: np.random.Generator) -> TrainingClip:
    """A random `Variation` of the clip."""
    frames, masks, new = clip.frames_thwc, clip.masks_tnhw, Variation.random(rng)
    assert frames is not None
    if new.mirrored:
        frames, masks = frames[:, :, ::-1], masks[..., ::-1]
    frames, masks = np.rot90(frames, new.quarter_turns, (1, 2)), np.rot90(masks, new.quarter_turns, (2, 3))
    channels = [table[frames[..., c]] for table, c in zip(new.tables, new.channels, strict=True)]
    return TrainingClip(np.stack(channels, axis=-1), np.ascontiguousarray(masks))


def rendered_batch(first_seed: int, clips: int, size: int, objects: int, frames: int) -> ClipBatch:
    """One batch, rendered here and now."""
    return make_batch([_render(first_seed + k, size, frames, objects) for k in range(clips)])


def clip_config(seed: int, size: int, frames: int, objects: int) -> ClipConfig:
    """What the training clip of this seed is to be: `frames` of a clip that may be longer."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(frames, LONGEST_CLIP)) if rng.random() < LONG_PROBABILITY else frames
    return replace(
        VARIED,
        height_px=size,
        width_px=size,
        frames=length,
        times=start_middle_later(rng, length, frames),
        objects=objects,
        motion_scale=float(rng.uniform(*MOTION_SCALE)),
    )


def _render(seed: int, size: int, frames: int, objects: int) -> TrainingClip:
    clip = render_clip(seed, clip_config(seed, size, frames, objects))
    return TrainingClip(clip.frames, clip.masks)


IN_WORKERS = ClipMaker(_render, lambda clip: clip, variation, make_batch)


def start_middle_later(rng: np.random.Generator, length: int, frames: int) -> tuple[int, ...]:
    """`frames` of `length`: one or two from the start, the middle, the others close together anywhere after it.

    What hides does so in the middle; later it is still hidden, comes out, or is out and elsewhere.
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
