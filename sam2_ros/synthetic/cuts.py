# SPDX-License-Identifier: Apache-2.0
"""Scene cuts: clips of one to three shots with the same labelled objects in different places.

Knows nothing of pixels: `scene` draws each shot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .clip import ClipConfig
from .photographs.photo_scene import PhotoScene
from .random_scene import in_share, random_scene
from .scene import Layer, Scene

Rng = np.random.Generator
ABSENT, LATE = 0.2, 0.15  # shares of the objects that are absent in the second shot, or enter it late


@dataclass(frozen=True)
class Shot:
    """A scene, shown from frame `begin` of the clip on, beginning with its own frame `scene_begin`."""

    begin: int
    scene: Scene | PhotoScene
    scene_begin: int = 0

    def draw(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw frame t of the clip; returns as `Scene.draw`."""
        return self.scene.draw(t - self.begin + self.scene_begin)


def shot_at(shots: tuple[Shot, ...], t: int) -> Shot:
    """Return the shot that frame t of the clip belongs to."""
    return max((shot for shot in shots if shot.begin <= t), key=lambda shot: shot.begin)


def with_cuts(rng: Rng, config: ClipConfig, scene: Scene) -> tuple[Shot, ...]:
    """Return one shot or, in a share `config.cuts` of the clips, a second after a cut, and maybe the first again."""
    first = Shot(0, scene)
    if config.frames < 2 or not in_share(rng, config.cuts):
        return (first,)
    begin = int(np.clip(round(rng.uniform(0.3, 0.7) * config.frames), 1, config.frames - 1))
    second = Shot(begin, _elsewhere(rng, config, scene))
    back = round(rng.uniform(begin + 1, config.frames))
    if back < config.frames and rng.random() < 0.4:
        return first, second, Shot(back, scene, back)
    return first, second


def _elsewhere(rng: Rng, config: ClipConfig, scene: Scene) -> Scene:
    """Make a scene with another background, camera and light, and the labelled objects of `scene` elsewhere in it."""
    actors = {layer.label: layer for layer in scene.layers if layer.label >= 0}
    stage = random_scene(rng, replace(config, hide_probability=0.0, twins=0.0), actors)
    side = min(config.height_px, config.width_px)
    layers: list[Layer] = []
    for layer in stage.layers:
        draw = rng.random() if layer.label >= 0 else 1.0
        if draw < ABSENT and len(actors) > 1:
            continue
        if draw < ABSENT + LATE:
            # The object enters over the right border and reaches its start position after so many frames.
            frames = rng.uniform(0.1, 0.5) * config.frames
            x, y = layer.motion.start_xy
            far = config.width_px - x + 2 * layer.motion.half_size_px + 0.2 * side
            motion = replace(layer.motion, start_xy=(x + far, y), velocity_xy=(-far / max(1.0, frames), 0.0))
            layer = replace(layer, motion=motion)
        layers.append(layer)
    return replace(stage, layers=tuple(layers))
