# SPDX-License-Identifier: Apache-2.0
"""Procedural colour textures: noise, fibres, stripes, cells, leaves, spots and gradients.

Makes one square RGB tile from a seed. Knows nothing of photographs, objects or clips.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Rng = np.random.Generator
PATTERN_SIZE_PX = 320
# Hues, 0..1: skin, wood and soil; foliage; sky and water; None = any.
_USUAL_HUES = (0.07, 0.09, 0.11, 0.24, 0.3, 0.57, 0.6, None, None)


def make_pattern(seed: int, size_px: int = PATTERN_SIZE_PX) -> np.ndarray:
    """Make the texture of a seed, [size_px, size_px, 3] uint8 RGB."""
    rng = np.random.default_rng(seed)
    family = FAMILIES[int(rng.integers(len(FAMILIES)))]
    tile = family(rng, size_px)
    if rng.random() < 0.5:  # fine grain, so that no texture is perfectly flat
        grain = _spectrum(rng, size_px, 0.6)[..., None] * rng.uniform(2, 12)
        tile = tile + grain
    return np.clip(tile, 0, 255).astype(np.uint8)


def random_colour(rng: Rng) -> np.ndarray:
    """Draw a natural colour, mostly dull brown, green or blue: [3] float RGB, 0..255."""
    usual = _USUAL_HUES[int(rng.integers(len(_USUAL_HUES)))]
    hue = rng.random() if usual is None else rng.normal(usual, 0.045) % 1.0
    saturation, value = rng.beta(1.4, 2.6), rng.uniform(0.12, 0.97)
    # HSV -> RGB of one pixel: cv2.cvtColor is slower for a single pixel.
    sector = (hue * 6 + np.array([5.0, 3.0, 1.0])) % 6
    return 255 * (value - value * saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1))


def _spectrum(rng: Rng, size_px: int, exponent: float, stretch: float = 1.0) -> np.ndarray:
    """Draw a random field of amplitude 1 / frequency^exponent and unit variance; `stretch` > 1 stretches it along x."""
    fy = np.fft.fftfreq(size_px)[:, None]
    fx = np.fft.rfftfreq(size_px)[None, :] * stretch
    amplitude = np.maximum(np.hypot(fy, fx), 1.0 / size_px) ** -exponent
    phase = rng.standard_normal((size_px, size_px // 2 + 1, 2))
    field = np.fft.irfft2((phase[..., 0] + 1j * phase[..., 1]) * amplitude, s=(size_px, size_px))
    return ((field - field.mean()) / (field.std() + 1e-9)).astype(np.float32)


def _ramp(rng: Rng, field: np.ndarray, colours: int = 3) -> np.ndarray:
    """Colour a field in 0..1 by interpolation between a few random colours."""
    palette = np.stack([random_colour(rng) for _ in range(colours)])
    stops = np.linspace(0, 1, colours)
    flat = np.clip(field, 0, 1)
    return np.stack([np.interp(flat, stops, palette[:, c]) for c in range(3)], axis=-1)


def _unit(field: np.ndarray) -> np.ndarray:
    low, high = np.percentile(field[::4, ::4], (2, 98))
    return np.clip((field - low) / (high - low + 1e-9), 0, 1)


def _grid(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32) / size_px
    return x, y


def clouds(rng: Rng, size_px: int) -> np.ndarray:
    """1/f noise, partly independent in each colour channel."""
    exponent = rng.uniform(0.7, 2.0)
    shared = _spectrum(rng, size_px, exponent)
    own = rng.uniform(0.0, 0.8)
    channels = [shared + own * _spectrum(rng, size_px, exponent) for _ in range(3)]
    return random_colour(rng) + rng.uniform(12, 50) * np.stack(channels, axis=-1)


def ridges(rng: Rng, size_px: int) -> np.ndarray:
    """Creases and veins: the absolute value of noise, coloured."""
    field = np.abs(_spectrum(rng, size_px, rng.uniform(1.0, 1.8), rng.uniform(1, 4)))
    return _ramp(rng, _unit(field) ** rng.uniform(0.5, 1.5))


def fibres(rng: Rng, size_px: int) -> np.ndarray:
    """Fur, hair, cloth, brushed metal, rippled water: noise stretched along one direction."""
    field = _spectrum(rng, size_px, rng.uniform(0.6, 1.5), rng.uniform(4, 18))
    bend = _spectrum(rng, size_px, 2.0) * rng.uniform(0, 12)
    x, y = _grid(size_px)
    warped = cv2.remap(field, x * size_px, y * size_px + bend, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return _ramp(rng, _unit(warped), int(rng.integers(2, 4)))


def stripes(rng: Rng, size_px: int) -> np.ndarray:
    """Stripes or checks, straight or wavy."""
    x, y = _grid(size_px)
    bend = _spectrum(rng, size_px, 2.0) * rng.choice([0.0, 0.02, 0.05])
    count, angle = rng.uniform(3, 22), rng.uniform(0, np.pi)
    along = (x * np.cos(angle) + y * np.sin(angle) + bend) * count
    wave = 0.5 + 0.5 * np.clip(np.sin(2 * np.pi * along) * rng.uniform(1, 8), -1, 1)
    if rng.random() < 0.4:
        across = (-x * np.sin(angle) + y * np.cos(angle) + bend) * count
        other = 0.5 + 0.5 * np.clip(np.sin(2 * np.pi * across) * 6, -1, 1)
        wave = np.abs(wave - other) if rng.random() < 0.6 else np.maximum(wave, other)
    return _ramp(rng, wave, 2)


def cells(rng: Rng, size_px: int) -> np.ndarray:
    """Tiles, stones, scales: Voronoi cells of one colour each, sometimes with joints between them."""
    points = np.full((size_px, size_px), 255, np.uint8)
    count = int(np.exp(rng.uniform(np.log(12), np.log(400))))
    points[rng.integers(0, size_px, count), rng.integers(0, size_px, count)] = 0
    distance, label = cv2.distanceTransformWithLabels(points, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    base, spread = random_colour(rng), rng.uniform(10, 60)
    tile = (base + rng.standard_normal((int(label.max()) + 1, 3)) * spread)[label]
    if rng.random() < 0.6:
        tile = tile * (1.15 - rng.uniform(0.2, 0.8) * _unit(distance))[..., None]
    return tile


def leaves(rng: Rng, size_px: int) -> np.ndarray:
    """Dead leaves model: overlapping shapes of all sizes, with the statistics of natural scenes."""
    tile = np.empty((size_px, size_px, 3), np.uint8)
    tile[:] = random_colour(rng)
    base, spread = random_colour(rng), rng.uniform(20, 75)
    smallest = rng.uniform(2, 10)
    for radius in sorted(smallest * (1 - rng.random(420) * 0.995) ** -0.6, reverse=True):
        colour = np.clip(base + rng.standard_normal(3) * spread, 0, 255)
        centre = rng.integers(0, size_px, 2).tolist()
        axes = [max(1, int(radius)), max(1, int(radius * rng.uniform(0.3, 1.0)))]
        cv2.ellipse(tile, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour.tolist(), -1, cv2.LINE_AA)
    return tile.astype(np.float32)


def blades(rng: Rng, size_px: int) -> np.ndarray:
    """Grass, straw, scratches: many short strokes around one direction."""
    tile = np.empty((size_px, size_px, 3), np.uint8)
    base = random_colour(rng)
    tile[:] = base * 0.7
    direction, length = rng.uniform(0, np.pi), rng.uniform(8, 40)
    starts = rng.uniform(0, size_px, (900, 2))
    angles = direction + rng.normal(0, rng.uniform(0.05, 0.6), 900)
    ends = starts + length * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    colours = np.clip(
        base + rng.normal(0, rng.uniform(12, 45), (900, 1)) + rng.normal(0, 10, (900, 3)), 0, 255
    )
    for start, end, colour in zip(
        starts.astype(int).tolist(), ends.astype(int).tolist(), colours, strict=True
    ):
        cv2.line(tile, start, end, colour.tolist(), 1 + int(length > 24), cv2.LINE_AA)
    return tile.astype(np.float32)


def spots(rng: Rng, size_px: int) -> np.ndarray:
    """Spots, patches of a coat, camouflage: thresholded smooth noise in two or three colours."""
    field = _spectrum(rng, size_px, rng.uniform(1.4, 2.6))
    edge = rng.uniform(2, 20)
    tile = _ramp(rng, 0.5 + 0.5 * np.tanh(edge * (field - rng.uniform(-0.6, 0.6))), 2)
    if rng.random() < 0.5:
        weight = (0.5 + 0.5 * np.tanh(edge * (_spectrum(rng, size_px, 2.0) - 0.7)))[..., None]
        tile = tile * (1 - weight) + random_colour(rng) * weight
    return tile


def gradient(rng: Rng, size_px: int) -> np.ndarray:
    """Sky, wall, plain paint: a smooth transition between two or three colours."""
    x, y = _grid(size_px)
    angle = rng.uniform(0, 2 * np.pi)
    field = _unit(x * np.cos(angle) + y * np.sin(angle) + rng.uniform(0, 0.2) * _spectrum(rng, size_px, 2.2))
    return _ramp(rng, field, int(rng.integers(2, 4)))


FAMILIES: tuple[Callable[[Rng, int], np.ndarray], ...] = (
    clouds, ridges, fibres, fibres, stripes, cells, leaves, leaves, blades, spots, gradient,
)  # fmt: skip
