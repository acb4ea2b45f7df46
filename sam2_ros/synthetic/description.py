# SPDX-License-Identifier: Apache-2.0
"""Describes a random clip before it is drawn, so that another process or device can draw it: scenes, cuts, sensor.

Does not know the renderer; a description can be pickled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .clip import ClipConfig
from .cuts import Shot, with_cuts
from .photographs.photo_scene import PhotoScene
from .photographs.random_photo import random_photo_scene
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
    if config.composites or config.photo_camera:
        config, photo = _settled(rng, config)
        found = _photo_scene(rng, config) if photo else None
        if found is not None:
            sensor = Sensor.random(rng) if rng.random() < config.degrade else None
            return ClipDescription(config, (Shot(0, found[0]),), sensor), found[1]
    for _ in range(_ATTEMPTS):
        scene = random_scene(rng, config)
        first = scene.draw(0)
        if _all_visible(config, scene, first):
            break
    else:
        scene = side_by_side(scene, config)
        first = scene.draw(0)
    sensor = Sensor.random(rng) if rng.random() < config.degrade else None
    return ClipDescription(config, with_cuts(rng, config, scene), sensor), first


def _settled(rng: np.random.Generator, config: ClipConfig) -> tuple[ClipConfig, bool]:
    """Draw the kind of a clip: `composites` becomes 0 or 1; True for a camera over a photograph."""
    draw = rng.random()
    photo = draw < config.photo_camera
    # If no camera over a photograph shows every object, the clip becomes a composite.
    composite = draw < config.photo_camera + config.composites
    return replace(config, composites=float(composite), photo_camera=0.0), photo


def _photo_scene(rng: np.random.Generator, config: ClipConfig) -> tuple[PhotoScene, DrawnFrame] | None:
    """Choose a camera over a photograph with all labelled objects visible in frame 0; None if none was found."""
    assert config.photographs is not None, "ClipConfig checks it"
    for _ in range(_ATTEMPTS):
        scene = random_photo_scene(rng, config, config.photographs)
        first = scene.draw(0)
        if _all_visible(config, scene, first):
            return scene, first
    return None


def _all_visible(config: ClipConfig, scene: Scene | PhotoScene, first: DrawnFrame) -> bool:
    least_px = config.min_area_share * config.height_px * config.width_px
    return bool((_label_counts(scene, first[1], config.objects) >= least_px).all())


def _label_counts(scene: Scene | PhotoScene, owner_hw: np.ndarray, objects: int) -> np.ndarray:
    """Count the visible pixels of each labelled object, [objects]."""
    per_layer = np.bincount(owner_hw.ravel(), minlength=len(scene.labels) + 1)[1:]
    counts = np.zeros(objects, int)
    for label, count in zip(scene.labels, per_layer, strict=True):
        if label >= 0:
            counts[label] = count
    return counts
