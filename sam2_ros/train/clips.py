"""Training batches of rendered clips, drawn ahead in worker processes.

Knows the renderer and the model's input; does not know losses or prompts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
import torch.nn.functional as F

from sam2_ros.engine.preprocess import normalize
from sam2_ros.media.render import ClipConfig, render_clip

from .unroll import ClipBatch

SIZE_RANGE = (0.15, 0.65)  # of the image; at less than a tenth an object is under two cells of the memory
MOTION_SCALE = (1.0, 2.5)  # with slow motion only, copying the last mask is all that a model learns
HIDE_PROBABILITY = 0.8  # hidden frames are few, and the object score learns from nothing else


def clip_batches(
    first_seed: int, clips: int, size: int, objects: int, frames_of_batch: Iterator[int], workers: int
) -> Iterator[ClipBatch]:
    """Batches in a fixed order: clip k of the run always comes from seed `first_seed` + k.

    Args:
        frames_of_batch: clip length of each batch; ends the run when it ends.
        workers: rendering processes, which stay two batches ahead.
    """
    seed = first_seed
    pending: deque[list[Future[tuple[np.ndarray, np.ndarray]]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        for frames in frames_of_batch:
            pending.append(
                [pool.submit(_render, s, size, frames, objects) for s in range(seed, seed + clips)]
            )
            seed += clips
            if len(pending) > 2:
                yield make_batch([future.result() for future in pending.popleft()])
        while pending:
            yield make_batch([future.result() for future in pending.popleft()])


def rendered_batch(first_seed: int, clips: int, size: int, objects: int, frames: int) -> ClipBatch:
    """One batch, rendered here and now."""
    return make_batch([_render(first_seed + k, size, frames, objects) for k in range(clips)])


def make_batch(clips: list[tuple[np.ndarray, np.ndarray]]) -> ClipBatch:
    """Stack clips of ``[t, S, S, 3]`` uint8 frames and ``[t, n, S, S]`` bool masks."""
    frames = torch.from_numpy(np.stack([frames for frames, _ in clips]))
    masks = np.stack([masks for _, masks in clips])
    b, t, n = masks.shape[:3]
    images = normalize(frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 255).unflatten(0, (b, t))
    covered = F.avg_pool2d(torch.from_numpy(masks).flatten(0, 2)[:, None].float(), 4)[:, 0]
    per_frame = covered.unflatten(0, (b, t, n)).transpose(0, 1).flatten(1, 2)
    # Less than half a cell cannot be drawn at stride 4; calling it visible would teach an empty mask.
    return ClipBatch(images, masks, per_frame, per_frame.flatten(2).sum(dim=2) > 0.5)


def _render(seed: int, size: int, frames: int, objects: int) -> tuple[np.ndarray, np.ndarray]:
    config = ClipConfig(
        height_px=size,
        width_px=size,
        frames=frames,
        objects=objects,
        size_range=SIZE_RANGE,
        hide_probability=HIDE_PROBABILITY,
        distractors=1,
        occluders=1,
        motion_scale=float(np.random.default_rng(seed).uniform(*MOTION_SCALE)),
    )
    clip = render_clip(seed, config)
    return clip.frames, clip.masks


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)
