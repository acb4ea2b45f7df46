# SPDX-License-Identifier: Apache-2.0
"""Textures for rendered clips: crops of free photographs and procedural patterns, recoloured at random.

Knows nothing of outlines, motion or masks.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from sam2_ros.errors import UserError

from .patterns import PATTERN_SIZE_PX, make_pattern, random_colour

Rng = np.random.Generator
Split = Literal["train", "demo"]
_MAX_SIDE_PX = 640


@dataclass(frozen=True)
class TexturePhotograph:
    """One image of the scikit-image wheel; author and licence as stated in `skimage/data/_fetchers.py`."""

    file: str
    licence: str
    author: str
    split: Split


# Only images whose docstring there states CC0 or public domain. The two splits share no image.
PHOTOGRAPHS: tuple[TexturePhotograph, ...] = (
    TexturePhotograph("astronaut.png", "public domain", "NASA", "train"),
    TexturePhotograph("brick.png", "CC0", "CC0Textures", "train"),
    TexturePhotograph("camera.png", "CC0", "Lav Varshney", "train"),
    TexturePhotograph("cell.png", "CC0", "Paul Mueller and others", "train"),
    TexturePhotograph("chelsea.png", "CC0", "Stefan van der Walt", "train"),
    TexturePhotograph("clock_motion.png", "public domain", "Stefan van der Walt", "train"),
    TexturePhotograph("grass.png", "CC0", "CC0Textures", "train"),
    TexturePhotograph("horse.png", "CC0", "Andreas Preuss", "train"),
    TexturePhotograph("hubble_deep_field.jpg", "public domain", "NASA", "train"),
    TexturePhotograph("retina.jpg", "CC0", "Mikael Haeggstroem", "train"),
    TexturePhotograph("rocket.jpg", "public domain", "SpaceX", "train"),
    TexturePhotograph("coffee.png", "CC0", "Rachel Michetti", "demo"),
    TexturePhotograph("gravel.png", "CC0", "CC0Textures", "demo"),
)
# Seeds of the procedural patterns, also disjoint.
PATTERN_SEEDS: dict[Split, range] = {"train": range(240), "demo": range(1_000_000, 1_000_024)}


@functools.cache
def photograph(file: str) -> np.ndarray:
    """Load one image of the wheel, [h, w, 3] uint8 RGB, longest side at most 640 px. Raises UserError."""
    spec = importlib.util.find_spec("skimage")  # located, not imported: only its data files are needed
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"rendering needs the photograph {file} of the scikit-image package, which is not installed: "
            "run `pip install scikit-image`",
            status=1,
        )
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / file
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(
            f"{path} cannot be read; expected the image that the scikit-image wheel ships: "
            "run `pip install --force-reinstall scikit-image`",
            status=1,
        )
    scale = _MAX_SIDE_PX / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


_pattern = functools.cache(make_pattern)


@functools.cache
def _half(file: str) -> np.ndarray:
    return cv2.resize(photograph(file), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class TextureBank:
    """The textures of one split; `photographs=False` uses procedural patterns only."""

    split: Split = "train"
    photographs: bool = True

    @property
    def files(self) -> tuple[str, ...]:
        """The photographs with usable textures: the horse is a silhouette, of which only the outline is used."""
        if not self.photographs:
            return ()
        return tuple(p.file for p in PHOTOGRAPHS if p.split == self.split and p.file != "horse.png")

    @property
    def seeds(self) -> range:
        return PATTERN_SEEDS[self.split]

    def crop(
        self, rng: Rng, height_px: int, width_px: int, upright: bool = False, photo_share: float = 0.6
    ) -> np.ndarray:
        """Cut a random piece out of a random texture and recolour it: [height_px, width_px, 3] uint8.

        `upright` rotates photographs by small angles only, for backgrounds.
        """
        is_photo = bool(self.files) and rng.random() < photo_share
        zoom = float(np.exp(rng.uniform(np.log(0.4), np.log(2.0))))  # texture pixels per output pixel
        if is_photo:
            file = self.files[int(rng.integers(len(self.files)))]
            source = photograph(file)
            zoom = min(zoom, 1.3 * min(source.shape[:2]) / max(height_px, width_px))
            if zoom > 1.5:
                source, zoom = _half(file), zoom / 2
        else:
            source = _pattern(self.seeds[int(rng.integers(len(self.seeds)))])
            zoom = min(zoom, 1.5 * PATTERN_SIZE_PX / max(height_px, width_px))
        angle = rng.normal(0, 0.12) if upright else rng.uniform(-np.pi, np.pi)
        stretch = np.exp(rng.normal(0, 0.15))
        mirror = -1.0 if rng.random() < 0.5 else 1.0
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        centre = rng.uniform(0.15, 0.85, 2) * source.shape[1::-1]
        linear = np.array([[cos * stretch * mirror, -sin], [sin * stretch * mirror, cos]])
        offset = centre - linear @ (width_px / 2, height_px / 2)
        tile = cv2.warpAffine(
            source,
            np.column_stack([linear, offset]),
            (width_px, height_px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return recolour(rng, tile, strength=float(rng.choice([0.15, 0.5, 1.0], p=[0.45, 0.35, 0.2])))


def recolour(rng: Rng, tile: np.ndarray, strength: float, mean_rgb: np.ndarray | None = None) -> np.ndarray:
    """Change hue, saturation, contrast and mean colour at random, in one affine map of RGB.

    `strength`, 0..1, is the amount of change; `mean_rgb` sets the resulting mean colour.
    """
    mean = np.array(cv2.mean(tile[::3, ::3])[:3])
    grey = np.full((3, 3), 1 / 3)
    saturation = np.exp(rng.normal(0, 0.5 * strength))
    hue = rng.uniform(-np.pi, np.pi) if rng.random() < 0.3 * strength else rng.normal(0, 0.4 * strength)
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)  # rotates colours about the grey axis
    turn = np.eye(3) + np.sin(hue) * axis + (1 - np.cos(hue)) * (axis @ axis)
    linear = np.exp(rng.normal(0, 0.3 * strength)) * (grey + saturation * (turn - grey @ turn))
    if tile.shape[2] == 3 and strength > 0.4 and rng.random() < 0.5:
        # A duotone with a random colour: the only way to colour a grey photograph.
        linear = linear @ (np.eye(3) * 0.5) + 0.5 * np.diag(random_colour(rng) / 128.0)
    if mean_rgb is not None:
        target = mean_rgb
    elif rng.random() < strength * 0.8:
        target = random_colour(rng)
    else:
        target = mean + rng.normal(0, 25, 3) * strength + rng.normal(0, 15)
    matrix = np.column_stack([linear, target - linear @ mean])
    return cv2.transform(tile, matrix)
