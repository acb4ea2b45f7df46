# SPDX-License-Identifier: Apache-2.0
"""Chooses how the parts of a model look: own textures, varied ones, or random patterns and colours.

Knows the store of models and the project's textures; does not know motion.
"""

from __future__ import annotations

import colorsys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from sam2_ros.synthetic.drawing.textures import TextureBank

from .prepared import PreparedModel
from .stage import Look

Rng = np.random.Generator
VARIED_SHARE = 0.3  # of models with textures
PATTERN_SHARE, OWN_COLOUR_SHARE = 0.55, 0.3  # of parts without texture
PATTERN_PX = 256


def choose_looks(rng: Rng, model: PreparedModel, folder: Path) -> list[Look]:
    """A look for each part. Textures that are made are written into `folder`."""
    varied = rng.random() < VARIED_SHARE
    own, patterned = rng.random() < OWN_COLOUR_SHARE, rng.random() < PATTERN_SHARE
    order, gains = rng.permutation(3), rng.uniform(0.6, 1.25, 3)
    palette = [random_rgb(rng) for _ in range(int(rng.integers(2, 5)))]
    looks = []
    for part, textured in enumerate(model.textured):
        mesh = model.mesh(part)
        if textured and not varied:
            looks.append(Look(mesh, model.texture(part), (1, 1, 1)))
        elif textured:
            image = np.asarray(Image.open(model.texture(part)).convert("RGB"))
            image = np.clip(image[..., order] * gains, 0, 255).astype(np.uint8)
            looks.append(Look(mesh, _saved(image, folder), (1, 1, 1)))
        elif patterned:
            looks.append(Look(mesh, _saved(_pattern(rng, palette), folder), (1, 1, 1)))
        elif own and len(model.textured) > 1:
            looks.append(Look(mesh, None, model.colours[part]))
        else:
            looks.append(Look(mesh, None, palette[part % len(palette)]))
    return looks


def random_rgb(rng: Rng) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 1) ** 0.7, rng.uniform(0.15, 1))


def _pattern(rng: Rng, palette: list[tuple[float, float, float]]) -> np.ndarray:
    """Fields of several colours in thirds of the texture, or one of the project's textures."""
    if rng.random() < 0.4:
        return TextureBank("train").crop(rng, PATTERN_PX, PATTERN_PX)
    across, along = np.meshgrid(*[np.linspace(-1, 1, PATTERN_PX)] * 2)
    angle, waves = rng.uniform(0, np.pi), rng.uniform(0, 0.4)
    place = (
        across * np.cos(angle) + along * np.sin(angle) + waves * np.sin(rng.uniform(2, 9) * (along - across))
    )
    fields = np.digitize(place, np.sort(rng.uniform(-0.7, 0.7, len(palette) - 1)))
    image = (np.array(palette)[fields] * 255).astype(np.uint8)
    if rng.random() < 0.5:  # spots of another colour
        for _ in range(int(rng.integers(2, 8))):
            x, y = (int(v) for v in rng.integers(0, PATTERN_PX, 2))
            colour = [float(c * 255) for c in palette[int(rng.integers(len(palette)))]]
            cv2.circle(image, (x, y), int(rng.integers(8, 50)), colour, -1)
    return image


def _saved(image_hw3: np.ndarray, folder: Path) -> Path:
    path = folder / f"texture-{len(list(folder.glob('texture-*.png')))}.png"
    Image.fromarray(np.ascontiguousarray(image_hw3)).save(path)
    return path
