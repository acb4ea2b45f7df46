# SPDX-License-Identifier: Apache-2.0
"""Draws one layer into all frames of a shot: its parts over each other, its bend, its motion blur, its shadow.

Does the same as `synthetic.scene` with OpenCV. Knows nothing of cuts, light or the sensor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from sam2_ros.synthetic.scene import (
    OWNED_ALPHA,
    Box,
    Layer,
    Placed,
    intersection,
    motion_blur_kernel,
    place,
    shadow_place,
    union,
)

from .sprites import Bend, Sprites, sample


class ShotFrames(NamedTuple):
    """The frames of a shot while they are drawn."""

    colour_t3hw: torch.Tensor  # float32, 0..255
    owner_thw: torch.Tensor  # uint8, the index + 1 of the layer that owns each pixel


def draw_layer(
    frames: ShotFrames, layer: Layer, mark: int, cameras: np.ndarray, times: list[int], sprites: Sprites
) -> None:
    """Draw a layer in place, its shadow first; `cameras` are world -> frame, [t, 3, 3]."""
    placed = [place(layer, camera, t) for camera, t in zip(cameras, times, strict=True)]
    height, width = frames.owner_thw.shape[1:]
    box = intersection(union([one.box for one in placed], 0), (0, 0, width, height))
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return
    image = _draw_parts(layer, placed, box, times, sprites)
    if layer.motion_blur:
        kernels = [
            motion_blur_kernel(layer.motion, camera, t) for camera, t in zip(cameras, times, strict=True)
        ]
        image = _motion_blurred(image, kernels)
    colour, alpha = image[:, :3], image[:, 3]
    if layer.shadow_strength > 0:
        shadow = _shadow(alpha, layer, placed, box, height, width)
        frames.colour_t3hw.mul_(1 - shadow[:, None] * (layer.shadow_strength / 255))
    frames.colour_t3hw[:, :, y0:y1, x0:x1].lerp_(colour, alpha[:, None] / 255)
    # The reference rounds alpha to integers before it compares.
    frames.owner_thw[:, y0:y1, x0:x1].masked_fill_(alpha >= OWNED_ALPHA - 0.5, mark)


def _draw_parts(
    layer: Layer, placed: list[Placed], box: Box, times: list[int], sprites: Sprites
) -> torch.Tensor:
    """Draw the parts over each other: RGB + alpha, [t, 4, box height, box width], 0..255, colours not premultiplied."""
    image: torch.Tensor | None = None
    for number, part in enumerate(layer.parts):
        matrices = np.stack([one.matrices[number] for one in placed])
        bend = _bend(layer, part.sprite.shape[0], times, sprites.device) if layer.bend.amplitude else None
        # Colours are extended beyond the sprite, where alpha is 0, so that edges do not blend with black.
        drawn = sample(sprites.pictures(part, times), matrices, box, bend=bend)
        if image is None:
            image = drawn
            continue
        over, under = drawn[:, 3:], image[:, 3:]
        alpha = over + under * (1 - over / 255)  # Porter and Duff's "over"
        image = torch.cat([torch.lerp(image[:, :3], drawn[:, :3], over / alpha.clamp(min=1)), alpha], dim=1)
    assert image is not None, "a layer has at least one part"
    return image


def _bend(layer: Layer, side: int, times: list[int], device: torch.device) -> Bend:
    """Return a sideways bend that travels along the sprite of `side` px."""
    phases = [2 * np.pi * layer.bend.frequency * t + layer.bend.phase for t in times]
    phase = torch.tensor(phases, dtype=torch.float32, device=device)[:, None, None]
    turn, reach = 2 * np.pi * layer.bend_waves / side, layer.bend.amplitude * side / 2
    return lambda x, y: x + reach * torch.sin(y * turn + phase)


def _motion_blurred(image_tchw: torch.Tensor, kernels: list[np.ndarray | None]) -> torch.Tensor:
    """Apply motion blur, with one kernel for each frame."""
    sharp = np.ones((1, 1), np.float32)
    given = [sharp if kernel is None else kernel for kernel in kernels]
    side = max(len(kernel) for kernel in given)
    if side == 1:
        return image_tchw
    padded = np.stack([np.pad(kernel, (side - len(kernel)) // 2) for kernel in given])
    t, c, h, w = image_tchw.shape
    weights = torch.from_numpy(padded).to(image_tchw.device).repeat_interleave(c, dim=0)[:, None]
    wide = F.pad(image_tchw, (side // 2,) * 4, mode="replicate").view(1, t * c, h + side - 1, w + side - 1)
    return F.conv2d(wide, weights, groups=t * c).view(t, c, h, w)


def _shadow(
    alpha_thw: torch.Tensor, layer: Layer, placed: list[Placed], box: Box, height: int, width: int
) -> torch.Tensor:
    """Shift the outline and blur it with a square, both per frame: [t, height, width], 0..255."""
    dx, dy, blur = np.array([shadow_place(layer, one.half_size_px) for one in placed]).T
    rows = _box_sums(alpha_thw, box[1] + dy, blur, height)
    return _box_sums(rows.transpose(1, 2), box[0] + dx, blur, width).transpose(1, 2)


def _box_sums(values_tnm: torch.Tensor, start: np.ndarray, side: Iterable[int], length: int) -> torch.Tensor:
    """Return means over `side[t]` rows, [t, length, m]; row 0 of the values is at `start[t]`, rows outside are 0."""
    device, n = values_tnm.device, values_tnm.shape[1]
    sides = np.asarray(side)
    begin = torch.from_numpy(-start - sides // 2).to(device)[:, None] + torch.arange(length, device=device)
    end = begin + torch.from_numpy(sides).to(device)[:, None]
    sums = F.pad(values_tnm.cumsum(dim=1), (0, 0, 1, 0))
    low, high = (index.clamp(0, n)[:, :, None].expand(-1, -1, values_tnm.shape[2]) for index in (begin, end))
    means = 1 / torch.from_numpy(sides).to(device, torch.float32)
    return (sums.gather(1, high) - sums.gather(1, low)) * means[:, None, None]
