"""Renders short clips of textured things that move, deform and hide each other, with exact masks.

It knows nothing of models or training: the same seed and configuration always give the same pixels.
"""

from __future__ import annotations

import numpy as np

from sam2_ros.media.synthetic.clip import Clip, ClipConfig
from sam2_ros.media.synthetic.cuts import Shot, shot_at, with_cuts
from sam2_ros.media.synthetic.demo import DEMO_CONFIG, DEMO_SEED, demo_scene
from sam2_ros.media.synthetic.scene import Scene
from sam2_ros.media.synthetic.sensor import Sensor
from sam2_ros.media.synthetic.staging import random_scene, side_by_side

__all__ = ["Clip", "ClipConfig", "demo_clip", "demo_config", "render_clip"]

Drawn = tuple[np.ndarray, np.ndarray]  # frame and owner of each pixel, as Scene.draw gives them
_ATTEMPTS = 6


def render_clip(seed: int, config: ClipConfig) -> Clip:
    """The clip that `seed` stands for. Every labelled object shows in frame 0."""
    rng = np.random.default_rng(seed)
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
    return _film(rng, with_cuts(rng, config, scene), config, sensor, first)


def demo_config() -> ClipConfig:
    """Size and length of the demo clip, and the textures reserved for it."""
    return DEMO_CONFIG


def demo_clip() -> Clip:
    """15 s of a robot's camera over a floor: 150 frames of 640 x 480 at 10 Hz, two objects.

    Object 1 is fully hidden behind a box for about 2.5 s in the middle; object 0 stays in view.
    """
    rng = np.random.default_rng(DEMO_SEED)
    return _film(
        rng,
        (Shot(0, demo_scene(rng)),),
        DEMO_CONFIG,
        Sensor(flicker=0.012, blur_px=3, noise=3.0, jpeg_quality=88),
    )


def _label_counts(scene: Scene, owner_hw: np.ndarray, objects: int) -> np.ndarray:
    """Pixels that each labelled object shows, [objects]."""
    per_layer = np.bincount(owner_hw.ravel(), minlength=len(scene.layers) + 1)[1:]
    counts = np.zeros(objects, int)
    for layer, count in zip(scene.layers, per_layer, strict=True):
        if layer.label >= 0:
            counts[layer.label] = count
    return counts


def _film(
    rng: np.random.Generator,
    shots: tuple[Shot, ...],
    config: ClipConfig,
    sensor: Sensor | None,
    first: Drawn | None = None,
) -> Clip:
    """Draws every frame; `first` is frame 0 where it is drawn already."""
    times = config.times or range(config.frames)
    frames = np.empty((len(times), config.height_px, config.width_px, 3), np.uint8)
    masks = np.zeros((len(times), config.objects, config.height_px, config.width_px), bool)
    for index, t in enumerate(times):
        shot = shot_at(shots, t)
        frame, owner = first if t == 0 and first is not None else shot.draw(t)
        frames[index] = frame if sensor is None else sensor.expose(rng, frame)
        for number, layer in enumerate(shot.scene.layers):
            if layer.label >= 0:
                np.equal(owner, number + 1, out=masks[index, layer.label])
    return Clip(frames, masks)
