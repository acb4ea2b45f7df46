# SPDX-License-Identifier: Apache-2.0
"""Renders short clips of textured things that move, deform and hide each other, with exact masks.

The same seed and configuration always give the same pixels. Knows nothing of models or training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .clip import Clip, ClipConfig
from .cuts import Shot, shot_at
from .demo import DEMO_CONFIG, DEMO_SEED, demo_scene
from .description import ClipDescription, DrawnFrame, random_description
from .sensor import Sensor

__all__ = ["Clip", "ClipConfig", "demo_clip", "demo_frames", "render_clip"]


def render_clip(seed: int, config: ClipConfig) -> Clip:
    """Render the clip of a seed. Every labelled object is visible in frame 0."""
    rng = np.random.default_rng(seed)
    return _render(rng, *random_description(rng, config))


def demo_clip(frames: int = DEMO_CONFIG.frames) -> Clip:
    """Render the demo: 15 s of a robot's camera over a floor, 150 frames of 640 x 480 at 10 Hz; or its first `frames`.

    Object 1 is fully hidden behind a box for about 2.5 s in the middle; object 0 stays in view.
    """
    rng, description = _demo(frames)
    return _render(rng, description)


def demo_frames(frames: int = DEMO_CONFIG.frames) -> Iterator[np.ndarray]:
    """Draw the images of `demo_clip` one after the other, each ``[480, 640, 3]`` uint8 RGB; holds one at a time."""
    rng, description = _demo(frames)
    return (frame for frame, _ in _exposed(rng, description))


def _demo(frames: int) -> tuple[np.random.Generator, ClipDescription]:
    rng = np.random.default_rng(DEMO_SEED)
    shots = (Shot(0, demo_scene(rng)),)
    sensor = Sensor(flicker=0.012, blur_px=3, noise=3.0, jpeg_quality=88)
    config = replace(DEMO_CONFIG, times=tuple(range(DEMO_CONFIG.frames))[:frames])
    return rng, ClipDescription(config, shots, sensor)


def _render(rng: np.random.Generator, description: ClipDescription, first: DrawnFrame | None = None) -> Clip:
    """Draw every frame; `first` is frame 0 if it is already drawn."""
    times, config = description.times, description.config
    frames = np.empty((len(times), config.height_px, config.width_px, 3), np.uint8)
    masks = np.zeros((len(times), config.objects, config.height_px, config.width_px), bool)
    for index, (frame, owner) in enumerate(_exposed(rng, description, first)):
        frames[index] = frame
        for number, label in enumerate(shot_at(description.shots, times[index]).scene.labels):
            if label >= 0:
                np.equal(owner, number + 1, out=masks[index, label])
    return Clip(frames, masks)


def _exposed(
    rng: np.random.Generator, description: ClipDescription, first: DrawnFrame | None = None
) -> Iterator[DrawnFrame]:
    """Every frame as the sensor shows it, and the number of the thing that each pixel belongs to."""
    sensor = description.sensor
    for t in description.times:
        frame, owner = first if t == 0 and first is not None else shot_at(description.shots, t).draw(t)
        yield (frame if sensor is None else sensor.expose(rng, frame)), owner
