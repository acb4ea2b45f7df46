# SPDX-License-Identifier: Apache-2.0
"""Draws layered things under a moving camera into one frame, and records which layer owns each pixel.

Does not know how a scene is chosen: sprites, motions and the depth order are given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

from .lighting import Lighting
from .warps import Warp, draw_bent, draw_warped, warped_bounds

Rng = np.random.Generator
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 px, half-open
_MAX_BLUR_PX = 15
SHUTTER = 0.5  # exposure time / time between two frames
OWNED_ALPHA = 128  # a pixel belongs to the topmost thing that covers at least half of it


@dataclass(frozen=True)
class Wave:
    """A wave: amplitude * (sin(2 pi frequency t + phase) - sin(phase)), smooth in t (frames), zero at t = 0."""

    amplitude: float = 0.0
    frequency: float = 0.0  # cycles per frame
    phase: float = 0.0

    def __call__(self, t: float) -> float:
        if self.amplitude == 0.0:
            return 0.0
        turn = 2 * np.pi * self.frequency
        return float(self.amplitude * (np.sin(turn * t + self.phase) - np.sin(self.phase)))


@dataclass(frozen=True)
class Motion:
    """Place of a thing at time t (frames): an affine map from its own square [-1, 1]^2 to world pixels."""

    start_xy: tuple[float, float]
    half_size_px: float
    angle_rad: float = 0.0
    velocity_xy: tuple[float, float] = (0.0, 0.0)  # px per frame
    sway_x: tuple[Wave, ...] = ()
    sway_y: tuple[Wave, ...] = ()
    spin: float = 0.0  # rad per frame
    rock: Wave = Wave()
    grow: Wave = Wave()  # change of the logarithm of the size
    squash: Wave = Wave()  # change of the logarithm of width / height
    flip: float = 1.0  # -1 mirrors
    approach: float = 0.0  # change of the logarithm of the size per frame: > 0 approaches, < 0 recedes

    def position(self, t: float) -> tuple[float, float]:
        x = self.start_xy[0] + self.velocity_xy[0] * t + sum(wave(t) for wave in self.sway_x)
        y = self.start_xy[1] + self.velocity_xy[1] * t + sum(wave(t) for wave in self.sway_y)
        return x, y

    def largest_half_size_px(self, frames: int) -> float:
        """Return the larger of its half sizes on the first and the last of so many frames, without `grow`."""
        return float(self.half_size_px * np.exp(max(0.0, self.approach * (frames - 1))))

    def matrix(self, t: float) -> np.ndarray:
        """Return the map from its own square to the world, [3, 3]."""
        angle = self.angle_rad + self.spin * t + self.rock(t)
        size = self.half_size_px * np.exp(self.grow(t) + self.approach * t)
        squash = np.exp(self.squash(t) / 2)
        x, y = self.position(t)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.array(
            [
                [cos * size * squash * self.flip, -sin * size / squash, x],
                [sin * size * squash * self.flip, cos * size / squash, y],
                [0, 0, 1],
            ]
        )


class Surface(Protocol):
    """Colours of a part that move within its outline."""

    def at(self, t: float) -> np.ndarray:
        """Return the visible colours at time t, [S, S, 3] uint8."""
        ...


@dataclass(frozen=True)
class ScrollingTexture:
    """The texture of a turning part: it moves within the outline, faster in the middle than at the edge."""

    strip: np.ndarray  # [S, 2 S, 3] uint8 RGB, the full circumference
    shade: np.ndarray  # [S, S, 3] uint8, shading, fixed to the outline; 128 = unchanged
    speed: float  # turns per frame

    def at(self, t: float) -> np.ndarray:
        """Return the visible texture at time t, [S, S, 3] uint8."""
        return cv2.multiply(np.take(self.strip, self.columns(t), axis=1), self.shade, scale=1 / 128)

    def columns(self, t: float) -> np.ndarray:
        """Return the columns of the strip that are visible at time t, [S] int."""
        side = len(self.strip)
        across = np.clip((2 * np.arange(side) + 1) / side - 1, -0.97, 0.97)
        around = np.arcsin(across) / (2 * np.pi) + 0.25 + self.speed * t
        return np.floor(around * 2 * side).astype(int) % (2 * side)


@dataclass(frozen=True)
class Part:
    """A rigid part of a thing: a sprite, placed by scale, pivot and swing in the thing's square."""

    sprite: np.ndarray  # [S, S, 4] uint8 RGB + alpha, covers [-1, 1]^2 of the part
    scale: float = 1.0
    pivot_xy: tuple[float, float] = (0.0, 0.0)
    angle_rad: float = 0.0
    swing: Wave = Wave()
    shift_x: Wave = Wave()  # of the pivot
    shift_y: Wave = Wave()
    grow: Wave = Wave()  # change of the logarithm of the scale
    surface: Surface | None = None
    extent: Box | None = (
        None  # box of the sprite's pixels that are not fully transparent, inclusive; None: all
    )

    def picture(self, t: float) -> np.ndarray:
        """Return the sprite at time t."""
        if self.surface is None:
            return self.sprite
        return cv2.merge([*cv2.split(self.surface.at(t)), np.ascontiguousarray(self.sprite[..., 3])])

    def matrix(self, t: float) -> np.ndarray:
        """Return the map from sprite pixels (centres at integers) to the thing's square, [3, 3]."""
        to_unit = 2.0 / self.sprite.shape[0]
        angle = self.angle_rad + self.swing(t)
        scale = self.scale * np.exp(self.grow(t))
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        x, y = self.pivot_xy[0] + self.shift_x(t), self.pivot_xy[1] + self.shift_y(t)
        place = np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1]])
        pixel = np.array([[to_unit, 0, to_unit / 2 - 1], [0, to_unit, to_unit / 2 - 1], [0, 0, 1]])
        return place @ pixel


@dataclass(frozen=True)
class Layer:
    """One thing of a scene. `label` is its index among the labelled objects, -1 for none."""

    parts: tuple[Part, ...]
    motion: Motion
    label: int = -1
    bend: Wave = Wave()  # a sideways bend, in units of the sprite
    bend_waves: float = 1.0  # number of periods of the bend along the sprite
    shadow_xy: tuple[float, float] = (0.0, 0.0)  # in units of the half size
    shadow_strength: float = 0.0
    motion_blur: bool = False
    warp: Warp | None = None  # a change of shape of a thing in one part, instead of `bend`


@dataclass(frozen=True)
class CameraMotion:
    """A camera that pans, zooms and rolls about the centre of the frame."""

    height_px: int
    width_px: int
    pan_x: tuple[Wave, ...] = ()
    pan_y: tuple[Wave, ...] = ()
    zoom: Wave = Wave()
    roll: Wave = Wave()
    shake_px: np.ndarray = field(default_factory=lambda: np.zeros((1, 2)))  # [T, 2]
    readout: float = 0.0  # frames between the exposure of the first and of the last row (rolling shutter)

    def matrix(self, t: int) -> np.ndarray:
        """Return the map from the world to frame pixels, [3, 3], with pixel centres at integers as in OpenCV.

        In the world, pixel (0, 0) of a camera at rest covers [0, 1] x [0, 1].
        """
        zoom, roll = np.exp(self.zoom(t)), self.roll(t)
        cos, sin = zoom * np.cos(roll), zoom * np.sin(roll)
        centre = np.array([self.width_px / 2, self.height_px / 2])
        linear = np.array([[cos, -sin], [sin, cos]])
        shake = self.shake_px[t % len(self.shake_px)]
        pan = np.array([sum(wave(t) for wave in self.pan_x), sum(wave(t) for wave in self.pan_y)])
        offset = centre - 0.5 - linear @ centre + pan + shake
        matrix = np.vstack([np.column_stack([linear, offset]), [0, 0, 1]])
        return self._rows(t) @ matrix if self.readout else matrix

    def _rows(self, t: int) -> np.ndarray:
        """Return the map from a frame exposed at once to one exposed row by row while the camera pans, [3, 3]."""
        before, after = (
            np.array([sum(w(at) for w in self.pan_x), sum(w(at) for w in self.pan_y)])
            for at in (t - 0.5, t + 0.5)
        )
        jolt = self.shake_px[(t + 1) % len(self.shake_px)] - self.shake_px[t % len(self.shake_px)]
        late_x, late_y = self.readout * (after - before + jolt) / self.height_px  # px per row
        middle = self.height_px / 2 - 0.5
        late_y = float(np.clip(late_y, -0.5, 0.5))
        return np.array([[1, late_x, -late_x * middle], [0, 1 + late_y, -late_y * middle], [0, 0, 1]])


@dataclass(frozen=True)
class Scene:
    """The content of a clip; `layers` are ordered from the farthest to the nearest."""

    camera: CameraMotion
    background: (
        np.ndarray
    )  # [h, w, 3] uint8, its centre at the centre of the frame, one pixel per frame pixel
    layers: tuple[Layer, ...]
    lighting: Lighting | None = None

    @property
    def labels(self) -> tuple[int, ...]:
        """The label of each owner, which is -1 for a thing that is not labelled."""
        return tuple(layer.label for layer in self.layers)

    @property
    def background_place(self) -> np.ndarray:
        """The map from background pixels (centres at integers) to the world, [3, 3]."""
        height, width = self.background.shape[:2]
        left, top = (self.camera.width_px - width) / 2 + 0.5, (self.camera.height_px - height) / 2 + 0.5
        return np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])

    def draw(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw frame t: [H, W, 3] uint8 RGB, and the index + 1 of the layer that owns each pixel, [H, W] uint8."""
        camera = self.camera.matrix(t)
        height, width = self.camera.height_px, self.camera.width_px
        frame = cv2.warpAffine(
            self.background,
            (camera @ self.background_place)[:2],
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        # Four channels, like the sprites: blending needs no copies.
        frame = cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA)
        owner = np.zeros((height, width), np.uint8)
        for index, layer in enumerate(self.layers):
            draw_layer(frame, owner, layer, camera, t, index + 1)
        frame = cv2.cvtColor(frame, cv2.COLOR_RGBA2RGB)
        return (frame if self.lighting is None else self.lighting.cast(frame, camera, t)), owner


@dataclass(frozen=True)
class Placed:
    """A layer in one frame."""

    matrices: list[np.ndarray]  # map of each part from sprite pixels to frame pixels, [3, 3]
    part_boxes: list[Box]  # pixels that each part can touch
    box: Box  # pixels that the layer can touch, without its shadow; may exceed the frame
    half_size_px: float


def paste(image: np.ndarray, layer: Layer) -> None:
    """Draw a still layer into an image, [h, w, 4] uint8, in place, one world pixel per pixel."""
    camera = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    draw_layer(image, np.zeros(image.shape[:2], np.uint8), layer, camera, 0, 1)


def draw_layer(
    frame: np.ndarray,
    owner: np.ndarray,
    layer: Layer,
    camera: np.ndarray,
    t: float,
    mark: int,
) -> None:
    """Draw one layer in place, its shadow first."""
    placed = place(layer, camera, t)
    x0, y0, x1, y1 = intersection(placed.box, (0, 0, owner.shape[1], owner.shape[0]))
    if x1 <= x0 or y1 <= y0:
        return
    image = _draw_parts(layer, placed.matrices, placed.part_boxes, (x0, y0, x1, y1), t)
    if layer.motion_blur:
        kernel = motion_blur_kernel(layer.motion, camera, t)
        if kernel is not None:
            image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    alpha = image[..., 3]
    if layer.shadow_strength > 0:
        dx, dy, blur = shadow_place(layer, placed.half_size_px)
        _cast_shadow(frame, alpha, (x0 + dx, y0 + dy), blur, layer.shadow_strength)
    weight = alpha.astype(np.float32) * (1 / 255)
    region = frame[y0:y1, x0:x1]
    cv2.blendLinear(image, region, weight, 1 - weight, region)
    owner[y0:y1, x0:x1][alpha >= OWNED_ALPHA] = mark


def place(layer: Layer, camera: np.ndarray, t: float) -> Placed:
    """Compute the place of a layer in the frame of time t; `camera` is world -> frame, [3, 3]."""
    world = camera @ layer.motion.matrix(t)
    matrices = [world @ part.matrix(t) for part in layer.parts]
    half_size = float(np.sqrt(abs(np.linalg.det(world[:2, :2]))))
    bend_px = abs(layer.bend.amplitude) * 2 * half_size
    if layer.warp is not None:
        boxes = [_corners_box(world, warped_bounds(layer.warp, t), 2)]
    else:
        boxes = [
            _bounds(matrix, part, 2 + bend_px) for part, matrix in zip(layer.parts, matrices, strict=True)
        ]
    whole = union(boxes, _MAX_BLUR_PX // 2 if layer.motion_blur else 0)
    return Placed(matrices, boxes, whole, half_size)


def _bounds(matrix: np.ndarray, part: Part, margin_px: float) -> Box:
    """Return the box of the pixels that a part can touch, with a margin."""
    last = part.sprite.shape[0] - 1
    return _corners_box(matrix, part.extent or (0, 0, last, last), margin_px)


def _corners_box(matrix: np.ndarray, source: tuple[float, float, float, float], margin_px: float) -> Box:
    """Return the box around the image of the box `source` (inclusive), with a margin."""
    left, top, right, bottom = source
    corners = (
        matrix[:2, :2] @ np.array([[left, right, right, left], [top, top, bottom, bottom]]) + matrix[:2, 2:]
    )
    (x0, y0), (x1, y1) = np.floor(corners.min(1) - margin_px), np.ceil(corners.max(1) + margin_px) + 1
    return int(x0), int(y0), int(x1), int(y1)


def union(boxes: list[Box], margin_px: int) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0) - margin_px, min(y0) - margin_px, max(x1) + margin_px, max(y1) + margin_px


def intersection(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _draw_parts(
    layer: Layer, matrices: list[np.ndarray], boxes: list[Box], whole: Box, t: float
) -> np.ndarray:
    """Draw the parts of a thing over each other: the `whole` box as RGB + alpha, [h, w, 4] uint8."""
    image: np.ndarray | None = None
    for part, matrix, own in zip(layer.parts, matrices, boxes, strict=True):
        x0, y0, x1, y1 = whole if image is None else intersection(own, whole)
        if x1 <= x0 or y1 <= y0:
            continue
        local = matrix.copy()
        local[:2, 2] -= (x0, y0)
        size = (x1 - x0, y1 - y0)
        if layer.warp is not None:
            drawn = draw_warped(part.picture(t), local, size, layer.warp, t)
        elif layer.bend.amplitude:
            phase = 2 * np.pi * layer.bend.frequency * t + layer.bend.phase
            drawn = draw_bent(part.picture(t), local, size, (layer.bend.amplitude, layer.bend_waves, phase))
        else:
            # Colours are extended beyond the sprite, where alpha is 0, so that edges do not blend with black.
            drawn = cv2.warpAffine(part.picture(t), local[:2], size, borderMode=cv2.BORDER_REPLICATE)
        if image is None:
            image = drawn
            continue
        below = image[y0 - whole[1] : y1 - whole[1], x0 - whole[0] : x1 - whole[0]]
        over, under = drawn[..., 3], below[..., 3]
        alpha = cv2.add(over, cv2.multiply(under, 255 - over, scale=1 / 255))  # Porter and Duff's "over"
        weight = cv2.divide(over, np.maximum(alpha, 1), dtype=cv2.CV_32F)
        cv2.blendLinear(drawn, below, weight, 1 - weight, below)
        below[..., 3] = alpha
    assert image is not None, "a layer has at least one part"
    return image


def motion_blur_kernel(motion: Motion, camera: np.ndarray, t: float) -> np.ndarray | None:
    """Return the kernel of motion blur, [k, k] float32 with k odd; None if the thing is sharp.

    It follows the path of the thing during the exposure.
    """
    before, after = np.array(motion.position(t - SHUTTER / 2)), np.array(motion.position(t + SHUTTER / 2))
    dx, dy = camera[:2, :2] @ (after - before)
    length = min(float(np.hypot(dx, dy)), _MAX_BLUR_PX)
    if length < 1.5:
        return None
    side = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((side, side), np.float32)
    middle, reach = side // 2, 0.5 * length / np.hypot(dx, dy)
    start = (round(middle - dx * reach), round(middle - dy * reach))
    cv2.line(kernel, start, (round(middle + dx * reach), round(middle + dy * reach)), 1.0)
    return kernel / kernel.sum()


def shadow_place(layer: Layer, half_size_px: float) -> tuple[int, int, int]:
    """Return the shadow's offset from its thing (dx, dy px), and the side of the square that blurs it (px, odd)."""
    dx, dy = np.round(np.array(layer.shadow_xy) * half_size_px).astype(int)
    return int(dx), int(dy), max(3, int(half_size_px * 0.35) | 1)


def _cast_shadow(
    frame: np.ndarray, alpha: np.ndarray, corner_xy: tuple[int, int], blur: int, strength: float
) -> None:
    """Darken the frame under a blurred, shifted copy of the outline."""
    pad = blur
    soft = cv2.blur(cv2.copyMakeBorder(alpha, pad, pad, pad, pad, cv2.BORDER_CONSTANT), (blur, blur))
    left, top = corner_xy[0] - pad, corner_xy[1] - pad
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + soft.shape[1], frame.shape[1]), min(top + soft.shape[0], frame.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    light = 1 - soft[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32) * (strength / 255)
    region = frame[y0:y1, x0:x1]
    cv2.blendLinear(region, np.zeros(region.shape, np.uint8), light, 1 - light, region)
