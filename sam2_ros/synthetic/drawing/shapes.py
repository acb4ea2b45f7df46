# SPDX-License-Identifier: Apache-2.0
"""Outlines of rendered things, as soft alpha images in the square [-1, 1] x [-1, 1].

It knows nothing of textures, positions or time.
"""

from __future__ import annotations

import cv2
import numpy as np

Rng = np.random.Generator
FILL = 0.94  # largest radius of an outline: the rim stays inside the sprite, so its alpha ends at 0
_OVERSAMPLE = 3


def rasterise(outlines: list[np.ndarray], size_px: int) -> np.ndarray:
    """Even-odd fill of closed outlines ([n, 2] in -1..1) as anti-aliased alpha, [size_px, size_px] uint8."""
    fine = size_px * _OVERSAMPLE
    canvas = np.zeros((fine, fine), np.uint8)
    # cv2 puts pixel centres at integers; 8 fractional bits.
    points = [np.round(((o + 1) * 0.5 * fine - 0.5) * 256).astype(np.int32) for o in outlines]
    cv2.fillPoly(canvas, points, 255, shift=8)
    return cv2.resize(canvas, (size_px, size_px), interpolation=cv2.INTER_AREA)


def filled(outlines: list[np.ndarray], size_px: int) -> np.ndarray:
    """As `rasterise` in a tenth of its time; edges are up to half a pixel too far out, the rim is left empty."""
    canvas = np.zeros((size_px, size_px), np.uint8)
    points = [np.round(((o + 1) * 0.5 * size_px - 0.5) * 256).astype(np.int32) for o in outlines]
    cv2.fillPoly(canvas, points, 255, cv2.LINE_AA, shift=8)
    canvas[[0, -1], :] = 0
    canvas[:, [0, -1]] = 0
    return canvas


def fit(outline: np.ndarray) -> np.ndarray:
    """Moves and scales an outline so that it just fills the square, proportions kept."""
    low, high = outline.min(0), outline.max(0)
    return (outline - (low + high) / 2) * (2 * FILL / max(high - low))


def blob(rng: Rng, roughness: float | None = None) -> np.ndarray:
    """A smooth closed outline, its radius a random Fourier series of the angle."""
    roughness = float(rng.uniform(0.05, 0.45)) if roughness is None else roughness
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.ones(96)
    for order in range(1, 9):
        amount = roughness * order**-0.9 * rng.standard_normal(2)
        radius += amount[0] * np.cos(order * angle) + amount[1] * np.sin(order * angle)
    radius = np.maximum(radius, 0.18)
    stretch = np.exp(rng.normal(0, 0.3))
    return turned(
        np.stack([radius * np.cos(angle) * stretch, radius * np.sin(angle)], 1), rng.uniform(0, 6.3)
    )


def polygon(rng: Rng) -> np.ndarray:
    """A polygon of 3 to 9 corners about a centre, or a star; straight edges."""
    corners = int(rng.integers(3, 10))
    angle = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
    radius = rng.uniform(0.55, 1.0, corners)
    if rng.random() < 0.25:
        angle = np.arange(2 * corners) * np.pi / corners
        radius = np.where(np.arange(2 * corners) % 2, rng.uniform(0.35, 0.7), 1.0)
    return turned(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), rng.uniform(0, 6.3))


def superellipse(rng: Rng, aspect: float | None = None, power: float | None = None) -> np.ndarray:
    """Between a diamond, an ellipse and a rounded box."""
    aspect = float(np.exp(rng.uniform(-0.9, 0.9))) if aspect is None else aspect
    power = float(rng.choice([1.0, 1.0, 0.6, 0.35, 0.15])) if power is None else power
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.sign(cos) * np.abs(cos) ** power * aspect, np.sign(sin) * np.abs(sin) ** power], 1)


def stick(rng: Rng) -> np.ndarray:
    """A thin, perhaps bent and tapering, rod."""
    along = np.linspace(-1, 1, 24)
    width = rng.uniform(0.03, 0.14) * (1 + rng.uniform(-0.6, 0.6) * along)
    bend = rng.normal(0, 0.2) * (along**2 - 0.5)
    upper, lower = np.stack([along, bend + width], 1), np.stack([along, bend - width], 1)
    return turned(np.concatenate([upper, lower[::-1]]), rng.uniform(0, 6.3))


def limb(rng: Rng, thickness: float) -> np.ndarray:
    """A tapering limb that hangs from the middle of the square to its lower edge."""
    along = np.linspace(0, 1, 14)
    width = thickness * (1 - rng.uniform(0.2, 0.6) * along) + thickness * 0.2 * (along > 0.85)
    knee = rng.normal(0, 0.12) * np.sin(np.pi * along)
    right, left = np.stack([knee + width, along], 1), np.stack([knee - width, along], 1)
    turn = np.linspace(0, np.pi, 8)[1:-1]
    foot = np.stack([knee[-1] + width[-1] * np.cos(turn), 0.93 + width[-1] * np.sin(turn) * 0.5], 1)
    top = np.stack([-width[0] * np.cos(turn), -width[0] * np.sin(turn)], 1)
    return np.concatenate([right * (1, 0.93), foot, left[::-1] * (1, 0.93), top]) * FILL


def turned(outline: np.ndarray, angle_rad: float) -> np.ndarray:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return outline @ np.array([[cos, sin], [-sin, cos]])


def frayed(rng: Rng, alpha: np.ndarray) -> np.ndarray:
    """The outline torn by fine noise: fur, foliage, foam. [S, S] uint8."""
    side = alpha.shape[0]
    grain = max(2, int(side / rng.uniform(10, 40)))
    noise = cv2.resize(
        rng.standard_normal((grain * 2, grain * 2)).astype(np.float32),
        (side, side),
        interpolation=cv2.INTER_CUBIC,
    )
    blur = max(3, side // 16 | 1)
    soft = cv2.blur(alpha, (blur, blur)).astype(np.float32) * (1 / 255)
    # The soft edge rises by 1 / blur per pixel: the slope below makes the torn edge about a pixel wide.
    torn = (soft - 0.5 + noise * np.float32(rng.uniform(0.1, 0.35))) * blur * 1.5 + 0.5
    torn = np.clip(torn, 0, 1) * (cv2.dilate(alpha, np.ones((blur, blur), np.uint8)) > 0)
    torn[[0, -1], :] = 0  # the rim of a sprite must end at 0
    torn[:, [0, -1]] = 0
    return (torn * 255).astype(np.uint8)


def random_alpha(rng: Rng, size_px: int) -> np.ndarray:
    """One thing in one piece: blob, polygon, box, stick, ring or union of blobs. [size_px, size_px] uint8."""
    kind = rng.choice(7, p=[0.32, 0.12, 0.18, 0.08, 0.1, 0.12, 0.08])
    if kind == 0:
        outlines = [fit(blob(rng))]
    elif kind == 1:
        outlines = [fit(polygon(rng))]
    elif kind == 2:
        outlines = [fit(turned(superellipse(rng), rng.uniform(0, 6.3)))]
    elif kind == 3:
        outlines = [fit(stick(rng))]
    elif kind == 4:  # a ring: the hole is an inner outline
        outer = fit(blob(rng, 0.08) if rng.random() < 0.5 else superellipse(rng))
        outlines = [outer, outer * rng.uniform(0.35, 0.75)]
    elif kind == 5:  # two or three overlapping lumps
        lumps = [
            rasterise([fit(blob(rng, 0.15)) * rng.uniform(0.35, 0.6) + rng.uniform(-0.35, 0.35, 2)], size_px)
            for _ in range(int(rng.integers(2, 4)))
        ]
        lumps.append(rasterise([fit(blob(rng, 0.1)) * 0.45], size_px))
        return np.maximum.reduce(lumps)
    else:  # a crescent or bitten thing
        outer = fit(superellipse(rng, power=1.0))
        bite = superellipse(rng, power=1.0) * rng.uniform(0.5, 0.8) + turned(
            np.array([[0.75, 0.0]]), rng.uniform(0, 6.3)
        )
        alpha = rasterise([outer], size_px)
        return np.minimum(alpha, 255 - rasterise([bite], size_px))
    return rasterise(outlines, size_px)
