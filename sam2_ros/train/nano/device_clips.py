# SPDX-License-Identifier: Apache-2.0
"""Draws training clips on the training device: workers only choose scenes and paint sprites.

Knows the rasteriser and the model's input; does not know losses or prompts. Used by `loop` on a GPU.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from sam2_ros.engine.preprocess import normalize
from sam2_ros.synthetic.description import ClipDescription, random_description
from sam2_ros.synthetic.torch_renderer.device_clip import DeviceClip, draw_description
from sam2_ros.train.data.batch import ClipBatch, TrainingClip

from .clips import ClipMaker, Variation, clip_config

SeededDescription = tuple[int, ClipDescription]


def on_device(device: torch.device) -> ClipMaker:
    """Draws the clips on `device`: for a seed the same clip as from the workers, except the camera's noise."""
    return ClipMaker(_describe, partial(_draw, device=device), vary, stack_on_device)


@torch.no_grad()
def upload(clip: TrainingClip, device: torch.device) -> DeviceClip:
    """A clip of frames and masks on the host, as one drawn on `device`."""
    assert clip.frames_thwc is not None
    frames = torch.from_numpy(clip.frames_thwc).to(device).permute(0, 3, 1, 2).contiguous()
    return DeviceClip(frames, torch.from_numpy(clip.masks_tnhw).to(device))


def _describe(seed: int, size: int, frames: int, objects: int) -> SeededDescription:
    description, _ = random_description(np.random.default_rng(seed), clip_config(seed, size, frames, objects))
    return seed, description


def _draw(seeded: SeededDescription, device: torch.device) -> DeviceClip:
    seed, description = seeded
    return draw_description(description, seed, device)


@torch.no_grad()
def vary(clip: DeviceClip, rng: np.random.Generator) -> DeviceClip:
    """A random variation of the clip, equal to that of `clips.variation`."""
    (frames, masks), new = clip, Variation.random(rng)
    if new.mirrored:
        frames, masks = frames.flip(3), masks.flip(3)
    frames, masks = frames.rot90(new.quarter_turns, (2, 3)), masks.rot90(new.quarter_turns, (2, 3))
    tables = torch.from_numpy(np.stack(new.tables)).to(frames.device)
    channels = [tables[i][frames[:, int(c)].long()] for i, c in enumerate(new.channels)]
    return DeviceClip(torch.stack(channels, dim=1), masks)


@torch.no_grad()
def stack_on_device(clips: list[DeviceClip]) -> ClipBatch:
    """Like `make_batch`, for tensors that are already on the device."""
    frames = torch.stack([clip.frames_t3hw for clip in clips])
    masks = torch.cat([clip.masks_tnhw for clip in clips], dim=1)
    owners = torch.arange(len(clips), device=masks.device).repeat_interleave(masks.shape[1] // len(clips))
    # Channels last, like the frames of workers, so that the model computes the same with both.
    pixels = frames.flatten(0, 1).float().contiguous(memory_format=torch.channels_last)
    images = normalize(pixels / 255).unflatten(0, frames.shape[:2])
    return ClipBatch(images, masks, owners)
