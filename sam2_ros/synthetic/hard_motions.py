# SPDX-License-Identifier: Apache-2.0
"""Motions that are hard to track: approaching, receding, fast, or crossing the path of a look-alike.

Knows nothing of the things that move, nor of pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .clip import ClipConfig
from .scene import CameraMotion, Motion, Wave

Rng = np.random.Generator
MAX_GROWTH = 4.0
GROWTH = (3.0, 10.0)  # of a growing thing, from the first to the last frame
SMALL_START, LARGEST = (0.08, 0.25), 1.6  # its length / shorter side of the image: at its smallest; at most


def approaching(rng: Rng, config: ClipConfig, motion: Motion) -> Motion:
    """Return the same motion with a size that grows or shrinks, up to fourfold from the first to the last frame."""
    if config.frames < 2:
        return motion
    side = min(config.height_px, config.width_px)
    factor = float(np.exp(rng.uniform(np.log(1.6), np.log(MAX_GROWTH))))
    least = 1.3 * np.sqrt(config.min_area_share) * side
    if rng.random() < 0.55:
        rate, start = np.log(factor), max(least, motion.half_size_px / np.sqrt(factor))
    else:
        rate, start = -np.log(factor), min(0.55 * side, motion.half_size_px * np.sqrt(factor))
    squash = replace(motion.squash, amplitude=motion.squash.amplitude * 1.8)  # as if it turned
    return replace(
        motion, half_size_px=float(start), approach=float(rate / (config.frames - 1)), squash=squash
    )


def growing(rng: Rng, config: ClipConfig, motion: Motion) -> Motion:
    """Return the same motion with a size that grows 3 to 10 times over the clip from a small start, or the reverse.

    At its largest the thing may be larger than the image.
    """
    if config.frames < 2:
        return motion
    side = min(config.height_px, config.width_px)
    smallest = float(np.exp(rng.uniform(*np.log(SMALL_START))))
    smallest = max(smallest, 2.6 * float(np.sqrt(config.min_area_share)))
    most = max(GROWTH[0], min(GROWTH[1], LARGEST / smallest))
    factor = float(np.exp(rng.uniform(np.log(GROWTH[0]), np.log(most))))
    shrinks = rng.random() < 0.35
    start = smallest * factor if shrinks else smallest
    rate = np.log(factor) / (config.frames - 1)
    # Waves of its size on top would change the factor.
    return replace(
        motion,
        half_size_px=start * side / 2,
        approach=float(-rate if shrinks else rate),
        grow=replace(motion.grow, amplitude=0.3 * motion.grow.amplitude),
    )


def fast_motion(rng: Rng, config: ClipConfig, motion: Motion) -> Motion:
    """Return a motion back and forth with a peak speed of 0.2 to 1 of the thing's own size per frame."""
    side = min(config.height_px, config.width_px)
    speed = 2 * motion.half_size_px * float(rng.uniform(0.2, 1.0))
    heading = rng.normal(0, 0.5) + np.pi * rng.integers(2)
    parts = speed * np.abs([np.cos(heading), np.sin(heading)])
    reach = side * rng.uniform(0.15, 0.5, 2)
    waves = [
        Wave(
            float(size),
            float(min(part / (2 * np.pi * size), 0.12)),
            float(rng.normal(0, 0.7) + np.pi * rng.integers(2)),
        )
        for part, size in zip(parts, reach, strict=True)
    ]
    return replace(motion, sway_x=(waves[0],), sway_y=(waves[1],))


def crossing(rng: Rng, config: ClipConfig, like: Motion) -> Motion:
    """Return a motion of nearly the size of `like` that starts beside it and crosses it near the middle of the clip."""
    middle = rng.uniform(0.3, 0.7) * max(1, config.frames - 1)
    half_size_px = like.half_size_px * float(np.exp(rng.normal(0, 0.15)))
    apart = (half_size_px + like.half_size_px) * rng.uniform(0.9, 1.6)
    heading = rng.normal(0, 0.4) + np.pi * rng.integers(2)
    velocity = apart / middle * np.array([np.cos(heading), np.sin(heading)])
    # The same sway as `like`, plus a constant drift: the two meet and part for any motion of `like`.
    offset = -velocity * middle
    return replace(
        like,
        start_xy=(like.start_xy[0] + float(offset[0]), like.start_xy[1] + float(offset[1])),
        half_size_px=half_size_px,
        velocity_xy=(like.velocity_xy[0] + float(velocity[0]), like.velocity_xy[1] + float(velocity[1])),
        rock=replace(like.rock, phase=like.rock.phase + float(rng.uniform(0, 2 * np.pi))),
        flip=like.flip if rng.random() < 0.5 else -like.flip,
    )


def chasing(rng: Rng, config: ClipConfig, camera: CameraMotion, subject: Motion | None) -> CameraMotion:
    """Return a camera motion that zooms and rolls more, and follows the subject, if there is one, at any distance."""
    frequency = 1 / max(12.0, float(rng.uniform(0.6, 3.0)) * config.frames)
    pan_x, pan_y = camera.pan_x, camera.pan_y
    if subject is not None:
        hold = float(rng.uniform(0.7, 1.0))
        pan_x = tuple(replace(wave, amplitude=-hold * wave.amplitude) for wave in subject.sway_x)
        pan_y = tuple(replace(wave, amplitude=-hold * wave.amplitude) for wave in subject.sway_y)
    return replace(
        camera,
        pan_x=pan_x,
        pan_y=pan_y,
        zoom=Wave(float(rng.normal(0, 0.3)), frequency, float(rng.uniform(0, 2 * np.pi))),
        roll=Wave(float(rng.normal(0, 0.2)), frequency, float(rng.uniform(0, 2 * np.pi))),
    )
