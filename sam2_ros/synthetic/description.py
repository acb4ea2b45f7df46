# SPDX-License-Identifier: Apache-2.0
"""Describes a random clip before it is drawn, so that another process or device can draw it: scenes, cuts, sensor.

Does not know the renderer; a description can be pickled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .clip import ClipConfig
from .cuts import Shot, with_cuts
from .random_scene import random_scene, side_by_side
from .scene import Scene
from .sensor import Sensor

DrawnFrame = tuple[np.ndarray, np.ndarray]  # frame and owner of each pixel, as returned by `Scene.draw`
_ATTEMPTS = 6


@dataclass(frozen=True)
class ClipDescription:
    """A clip before it is drawn."""

    config: ClipConfig
    shots: tuple[Shot, ...]
    sensor: Sensor | None = None  # None: no sensor artefacts

    @property
    def times(self) -> tuple[int, ...]:
        """The indices of the frames to draw."""
        return self.config.times or tuple(range(self.config.frames))


def random_description(rng: np.random.Generator, config: ClipConfig) -> tuple[ClipDescription, DrawnFrame]:
    """Describe a clip with all labelled objects visible in frame 0; also returns that frame, drawn for the check."""
    least_px = config.min_area_share * config.height_px * config.width_px
    for _ in range(_ATTEMPTS):
        scene = random_scene(rng, config)
        first = scene.draw(0)
        if (_label_counts(scene, first[1], config.objects) >= least_px).all():
            break
    else:
        scene = side_by_side(scene, config)
        first = scene.draw(0)
    sensor = Sensor.random(rng) if rng.random() < config.degrade else None
    return ClipDescription(config, with_cuts(rng, config, scene), sensor), first


def _label_counts(scene: Scene, owner_hw: np.ndarray, objects: int) -> np.ndarray:
    """Count the visible pixels of each labelled object, [objects]."""
    per_layer = np.bincount(owner_hw.ravel(), minlength=len(scene.layers) + 1)[1:]
    counts = np.zeros(objects, int)
    for layer, count in zip(scene.layers, per_layer, strict=True):
        if layer.label >= 0:
            counts[layer.label] = count
    return counts
