# SPDX-License-Identifier: Apache-2.0
"""Things whose parts have clearly different colours, and which show more or less of each as they move and turn.

Knows the motion of parts within a thing, but no other motion, and no scene.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sam2_ros.synthetic.scene import Part, ScrollingTexture, Wave

from . import shapes
from .assemblies import animal, box, person, plant, rider, stack, vehicle
from .canvas import Canvas, material
from .things import Look

Rng = np.random.Generator
COLOURS = (3, 6)  # of a thing, from .. to
LEAST_APART = 110.0  # distance of any two of them in RGB
TURNED_PARTS, LEAST_TURNED = 0.35, 0.3  # share of the parts that turn another side forward; their least scale


def make_multicoloured(rng: Rng, look: Look, frames: int) -> tuple[Part, ...]:
    """Make a thing of three to six colours: dressed people, riders, vehicles, towers, balls; for so many frames."""
    look.palette = palette(rng, int(rng.integers(COLOURS[0], COLOURS[1] + 1)))
    draw = rng.random()
    if draw < 0.3:
        made: tuple[Part, ...] | Canvas = _tower(rng, look, frames)
    elif draw < 0.45:
        made = _ball(rng, look, frames)
    else:
        kinds = (person, rider, animal, vehicle, stack, plant)
        made = kinds[int(rng.choice(len(kinds), p=(0.3, 0.2, 0.15, 0.15, 0.1, 0.1)))](rng, look)
    if isinstance(made, Canvas):
        return (_two_faced(rng, made, frames),)
    return tuple(_loose(rng, part, look, frames) for part in made)


def palette(rng: Rng, count: int) -> np.ndarray:
    """Draw colours that are clearly different, [count, 3] float RGB: strong ones, black, white and skin."""
    chosen: list[np.ndarray] = []
    for attempt in range(400):
        if rng.random() < 0.3:
            colour = np.array([(20, 20, 24), (235, 235, 230), (222, 172, 140), (120, 72, 48)])[
                rng.integers(4)
            ]
        else:
            colour = rng.uniform(10, 245, 3)
            colour[rng.integers(3)] = rng.choice([10.0, 245.0])  # not grey
        least = LEAST_APART * (1 - attempt / 400)
        if all(np.linalg.norm(colour - other) >= least for other in chosen):
            chosen.append(np.clip(colour + rng.normal(0, 6, 3), 0, 255))
        if len(chosen) == count:
            break
    return np.array(chosen)


def _tower(rng: Rng, look: Look, frames: int) -> tuple[Part, ...]:
    """Make three to five pieces above each other, each of another colour: hair, shirt, trousers, shoes; a totem."""
    count = int(rng.integers(3, 6))
    heights = rng.uniform(0.5, 1.5, count)
    heights *= 1.86 / heights.sum()
    wide = rng.uniform(0.25, 0.6)
    edges = np.concatenate([[-0.93], -0.93 + np.cumsum(heights)])
    parts = []
    for number in rng.permutation(count):
        middle, half = (edges[number] + edges[number + 1]) / 2, 0.56 * heights[number]
        width = min(0.9, wide * rng.uniform(0.6, 1.5))
        scale = float(max(half, width)) / shapes.FILL
        canvas = Canvas(rng, look, scale)
        canvas.add(box(0, 0, width / scale, half / scale, float(rng.choice([0.2, 0.5, 1.0]))))
        for _ in range(int(rng.integers(0, 3))):
            canvas.mark(
                shapes.fit(shapes.blob(rng, 0.2)) * rng.uniform(0.1, 0.35) + rng.uniform(-0.5, 0.5, 2)
            )
        turned = _two_faced(rng, canvas, frames) if rng.random() < TURNED_PARTS else canvas.part()
        swing = Wave(float(rng.uniform(0.02, 0.2)), _frequency(rng, frames), float(rng.uniform(0, 6.3)))
        parts.append(replace(turned, scale=scale, pivot_xy=(0.0, float(middle)), swing=swing))
    return tuple(parts)


def _ball(rng: Rng, look: Look, frames: int) -> tuple[Part, ...]:
    """Make a ball, can or box with bands and patches whose back has other colours."""
    canvas = Canvas(rng, look)
    canvas.add(
        shapes.fit(shapes.superellipse(rng, float(rng.uniform(0.7, 1.4)), float(rng.choice([1.0, 0.4]))))
    )
    for _ in range(int(rng.integers(1, 4))):
        canvas.mark(
            box(rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6), rng.uniform(0.1, 1.0), rng.uniform(0.1, 0.4))
        )
    return (_two_faced(rng, canvas, frames),)


def _two_faced(rng: Rng, canvas: Canvas, frames: int) -> Part:
    """Return a thing as one part whose surface turns; its back has other colours."""
    return _turning(rng, canvas.part(), canvas.look, canvas.look.shade(canvas.alpha), frames)


def _turning(rng: Rng, part: Part, look: Look, shade: np.ndarray, frames: int) -> Part:
    """Let the surface of a part turn by a quarter to two turns; its back shows one to three colours."""
    front = np.ascontiguousarray(part.sprite[..., :3])
    side = len(front)
    back = material(rng, look, side, side)
    for _ in range(int(rng.integers(0, 3))):
        x = int(rng.integers(side))
        back[:, x : x + side // 4] = material(rng, look, side, side)[:, x : x + side // 4]
    turns = float(rng.choice([-1, 1]) * np.exp(rng.uniform(np.log(0.25), np.log(2.0))))
    strip = np.concatenate([front, back], axis=1)
    return replace(part, surface=ScrollingTexture(strip, shade, turns / max(8, frames)))


def _loose(rng: Rng, part: Part, look: Look, frames: int) -> Part:
    """Let a part move a little against the others, change its size, and maybe turn another side to the camera."""

    def wave(amplitude: float) -> Wave:
        return Wave(float(rng.normal(0, amplitude)), _frequency(rng, frames), float(rng.uniform(0, 6.3)))

    if part.surface is None and part.scale >= LEAST_TURNED and rng.random() < TURNED_PARTS:
        part = _turning(rng, part, look, np.full((*part.sprite.shape[:2], 3), 128, np.uint8), frames)
    share = min(part.scale, 0.5)
    return replace(part, shift_x=wave(0.12 * share), shift_y=wave(0.12 * share), grow=wave(0.18))


def _frequency(rng: Rng, frames: int) -> float:
    """Draw a frequency of a third to two periods over the clip, cycles per frame."""
    return float(rng.uniform(0.33, 2.0) / max(8, frames))
