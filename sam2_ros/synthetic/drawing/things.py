# SPDX-License-Identifier: Apache-2.0
"""Builds the sprites of rendered things and their backdrops: an outline, filled with texture and shaded.

Knows nothing of motion or time.
"""

from __future__ import annotations

import cv2
import numpy as np

from sam2_ros.synthetic.scene import Part, Wave

from . import shapes
from .cutouts import Cutout, cutouts
from .textures import TextureBank, photograph, recolour

Rng = np.random.Generator


class Look:
    """Properties that the parts of one thing share: texture, light, resolution."""

    def __init__(
        self,
        rng: Rng,
        bank: TextureBank,
        length_px: float,
        light_rad: float,
        under_rgb: np.ndarray | None = None,
    ) -> None:
        self.bank = bank
        self.size_px = int(np.clip(length_px * 1.15, 16, 320))
        self.light_rad = light_rad
        self.under_rgb = under_rgb
        self._other: np.ndarray | None = None
        self.palette: np.ndarray | None = None  # [n, 3] RGB: the colours of all materials, if any
        self.relief = float(rng.choice([0.0, 0.25, 0.5, 0.9]))
        self.photo_share = float(rng.choice([0.3, 0.9]))
        self.texture = bank.crop(rng, self.size_px, self.size_px, photo_share=self.photo_share)
        if under_rgb is not None and rng.random() < 0.2:  # nearly the colour of the background
            target = np.clip(under_rgb + rng.normal(0, 22, 3), 10, 245)
            self.texture = recolour(rng, self.texture, 0.2, mean_rgb=target)

    def other(self, rng: Rng) -> np.ndarray:
        """Return a second texture, the same for all parts, as a crop is the slowest step: [S, S, 3]."""
        if self._other is None:
            self._other = self.bank.crop(rng, self.size_px, self.size_px, photo_share=self.photo_share)
        return self._other

    def sprite(self, alpha: np.ndarray, texture: np.ndarray | None = None) -> np.ndarray:
        """Make the sprite: shaded texture with the outline's alpha, [S, S, 4] uint8."""
        return shaded_sprite(self.texture if texture is None else texture, alpha, self.light_rad, self.relief)

    def shade(self, alpha: np.ndarray) -> np.ndarray:
        """Return the shading of a grey thing with this outline, [S, S, 3] uint8, 128 = unchanged."""
        grey = np.full((*alpha.shape, 3), 128, np.uint8)
        return _shade(grey, alpha, self.light_rad, self.relief) if self.relief > 0 else grey


def shaded_sprite(texture: np.ndarray, alpha: np.ndarray, light_rad: float, relief: float) -> np.ndarray:
    """Make a sprite, [S, S, 4] uint8, from colours and alpha; `relief` (0..1) is the strength of the shading."""
    if relief > 0:
        texture = _shade(texture, alpha, light_rad, relief)
    return cv2.merge([*cv2.split(texture), alpha])


def cutout_sprite(cutout: Cutout, size_px: int) -> np.ndarray:
    """Cut the thing out of its photograph, [size_px, size_px, 4] uint8 RGB + alpha."""
    low, high = cutout.outline_xy.min(0), cutout.outline_xy.max(0)
    scale = 2 * shapes.FILL / max(high - low)  # file pixels -> the square, as in `shapes.fit`
    step = size_px / 2 * scale
    offset = size_px / 2 - step * (low + high) / 2
    image = photograph(cutout.file)
    while step < 0.6:  # an affine map alone would skip pixels
        image, step = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 2 * step
    # Pixel centres are at integers in OpenCV; outlines are measured from the corner of the pixel.
    shift = offset + 0.5 * step - 0.5
    texture = cv2.warpAffine(
        image,
        np.array([[step, 0, shift[0]], [0, step, shift[1]]]),
        (size_px, size_px),
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return cv2.merge([*cv2.split(texture), shapes.rasterise([shapes.fit(cutout.outline_xy)], size_px)])


def make_parts(rng: Rng, look: Look, kind: str | None = None) -> tuple[Part, ...]:
    """Make a random thing: one piece, two materials, or a body with limbs. `kind="screen"` makes one without gaps."""
    size = look.size_px
    if kind == "screen":
        outline = shapes.superellipse(rng, aspect=1.0, power=float(rng.choice([1.0, 0.5, 0.2])))
        return (Part(look.sprite(shapes.rasterise([shapes.fit(outline)], size))),)
    draw = rng.random()
    if draw < 0.27:
        return _creature(rng, look)
    if draw > 0.86 and look.bank.photographs:  # a real thing out of a photograph
        choices = cutouts(look.bank.split, textured=True)
        sprite = cutout_sprite(choices[int(rng.integers(len(choices)))], size)
        if rng.random() < 0.6:
            colour = recolour(rng, np.ascontiguousarray(sprite[..., :3]), float(rng.choice([0.15, 0.5, 1.0])))
            sprite = look.sprite(np.ascontiguousarray(sprite[..., 3]), colour)
        return (Part(sprite),)
    if draw > 0.8:  # the outline of a real thing, filled with anything
        choices = cutouts(look.bank.split, textured=False)
        alpha = shapes.rasterise([shapes.fit(choices[int(rng.integers(len(choices)))].outline_xy)], size)
    else:
        alpha = shapes.random_alpha(rng, size)
    if rng.random() < 0.2:
        alpha = shapes.frayed(rng, alpha)
    texture = look.texture
    if draw < 0.48:  # two materials in one outline: a patch, a stripe, a lid
        other = look.bank.crop(rng, size, size, photo_share=look.photo_share)
        patch = shapes.rasterise(
            [shapes.blob(rng, 0.3) * rng.uniform(0.3, 0.9) + rng.uniform(-0.8, 0.8, 2)], size
        )
        weight = patch.astype(np.float32) / 255
        texture = cv2.blendLinear(other, texture, weight, 1 - weight)
    return (Part(look.sprite(alpha, texture)),)


def _creature(rng: Rng, look: Look) -> tuple[Part, ...]:
    """Make a torso with a head and two or four swinging limbs, upright or on all fours."""
    size = look.size_px
    other = (
        look.bank.crop(rng, size, size, photo_share=look.photo_share) if rng.random() < 0.5 else look.texture
    )
    upright = rng.random() < 0.5
    pace, reach = float(rng.uniform(0.01, 0.12)), float(rng.uniform(0.1, 0.7))

    def swing(phase: float) -> Wave:
        return Wave(reach, pace, phase)

    body_alpha = shapes.rasterise([shapes.fit(shapes.superellipse(rng, 0.55 if upright else 1.9, 0.8))], size)
    body = Part(look.sprite(body_alpha), scale=0.5, pivot_xy=(0.0, -0.1))
    limb = look.sprite(shapes.rasterise([shapes.limb(rng, float(rng.uniform(0.08, 0.2)))], size), other)
    start = float(rng.uniform(0, 2 * np.pi))
    if upright:
        hips = [(-0.12, 0.25, 0.0), (0.12, 0.25, np.pi)]
        arms = [(-0.2, -0.45, np.pi), (0.2, -0.45, 0.0)]
        joints = hips + (arms if rng.random() < 0.8 else [])
        head_at = (0.0, -0.72)
    else:
        joints = [(-0.4, 0.05, 0.0), (-0.3, 0.05, np.pi), (0.3, 0.05, np.pi), (0.4, 0.05, 0.0)]
        head_at = (0.55, -0.35)
    length = float(rng.uniform(0.5, 0.7))
    parts = [
        Part(
            limb,
            scale=length,
            pivot_xy=(x, y),
            angle_rad=float(rng.normal(0, 0.15)),
            swing=swing(start + phase),
        )
        for x, y, phase in joints
    ]
    head_alpha = shapes.rasterise([shapes.fit(shapes.blob(rng, 0.1))], size)
    head = Part(
        look.sprite(head_alpha, look.texture if rng.random() < 0.5 else other),
        scale=float(rng.uniform(0.18, 0.28)),
        pivot_xy=head_at,
        swing=Wave(0.3, pace, start),
    )
    behind = len(parts) // 2
    return (*parts[:behind], body, head, *parts[behind:])


def _shade(colour: np.ndarray, alpha: np.ndarray, light_rad: float, relief: float) -> np.ndarray:
    """Shade a surface that rises from its edge, with light from one side."""
    side = max(3, alpha.shape[0] // 4 | 1)
    height = cv2.blur(cv2.blur(alpha, (side, side)), (side, side)).astype(np.float32) / 255
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=side / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=side / 8)
    towards = slope_x * np.float32(np.cos(light_rad)) + slope_y * np.float32(np.sin(light_rad))
    rim = 1 - height
    light = 1 + np.float32(relief) * (0.9 * np.clip(towards, -0.7, 0.7) - 0.35 * rim)
    light = np.clip(light, 0.15, 1.6)
    return cv2.multiply(colour, cv2.merge([light, light, light]), dtype=cv2.CV_8U)


def make_backdrop(rng: Rng, bank: TextureBank, height_px: int, width_px: int) -> np.ndarray:
    """Make a backdrop: a piece of a photograph, a texture, or ground below a sky or wall; some with still things."""
    image = bank.crop(rng, height_px, width_px, upright=True)
    if rng.random() < 0.35:
        image = _two_grounds(rng, image, bank.crop(rng, height_px, width_px, upright=True, photo_share=0.4))
    if rng.random() < 0.4:  # light that changes across the image
        x = np.linspace(-1, 1, width_px, dtype=np.float32)[None, :] * np.float32(rng.normal(0, 0.2))
        y = np.linspace(-1, 1, height_px, dtype=np.float32)[:, None] * np.float32(rng.normal(0, 0.2))
        light = np.clip(1 + x + y, 0.3, 1.7)
        image = cv2.multiply(image, cv2.merge([light, light, light]), dtype=cv2.CV_8U)
    for _ in range(int(rng.choice([0, 0, 1, 2, 4]))):
        _add_still_thing(rng, bank, image)
    return image


def _two_grounds(rng: Rng, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Draw `lower` as ground in perspective below a horizon, `upper` above it."""
    height, width = upper.shape[:2]
    horizon = rng.uniform(0.25, 0.7) * height
    depth = rng.uniform(0.0, 0.35) * width  # how much the ground narrows towards the horizon
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    target = np.array(
        [
            [-0.1 * width, horizon],
            [1.1 * width, horizon],
            [width * 1.1 + 3 * depth, height],
            [-0.1 * width - 3 * depth, height],
        ],
        np.float32,
    )
    ground = cv2.warpPerspective(
        lower, cv2.getPerspectiveTransform(source, target), (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    x = np.linspace(0, 6.3, width, dtype=np.float32)
    line = (
        horizon
        + rng.normal(0, 0.04) * height * np.sin(x * rng.uniform(0.2, 2) + rng.uniform(0, 6.3))
        + (x - 3) * rng.normal(0, 2)
    )
    softness = float(rng.choice([1.0, 3.0, 12.0]))
    weight = np.clip((np.arange(height, dtype=np.float32)[:, None] - line) / softness + 0.5, 0, 1).astype(
        np.float32
    )
    return cv2.blendLinear(ground, upper, weight, 1 - weight)


def _add_still_thing(rng: Rng, bank: TextureBank, image: np.ndarray) -> None:
    """Draw one still thing into the backdrop, in place."""
    height, width = image.shape[:2]
    size = int(min(height, width) * np.exp(rng.uniform(np.log(0.06), np.log(0.4))))
    look = Look(rng, bank, size / 1.15, float(rng.uniform(0, 6.3)))
    sprite = look.sprite(shapes.random_alpha(rng, look.size_px))
    size = look.size_px
    x, y = int(rng.integers(0, max(1, width - size))), int(rng.integers(0, max(1, height - size)))
    region = np.ascontiguousarray(image[y : y + size, x : x + size])
    weight = sprite[: region.shape[0], : region.shape[1], 3].astype(np.float32) / 255
    top = np.ascontiguousarray(sprite[: region.shape[0], : region.shape[1], :3])
    image[y : y + size, x : x + size] = cv2.blendLinear(top, region, weight, 1 - weight)
