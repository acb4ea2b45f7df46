# SPDX-License-Identifier: Apache-2.0
"""Outlines of rendered things in the square [-1, 1] x [-1, 1], and their alpha images with soft edges.

Knows nothing of textures, positions or time.
"""

from __future__ import annotations

import cv2
import numpy as np

Rng = np.random.Generator
FILL = 0.94  # largest radius of an outline: the border of a sprite stays transparent
_OVERSAMPLE = 3


def rasterise(outlines: list[np.ndarray], size_px: int) -> np.ndarray:
    """Fill closed outlines ([n, 2] in -1..1, even-odd) as anti-aliased alpha, [size_px, size_px] uint8."""
    fine = size_px * _OVERSAMPLE
    canvas = np.zeros((fine, fine), np.uint8)
    # Pixel centres are at integers in OpenCV; coordinates have 8 fractional bits.
    points = [np.round(((o + 1) * 0.5 * fine - 0.5) * 256).astype(np.int32) for o in outlines]
    cv2.fillPoly(canvas, points, 255, shift=8)
    return cv2.resize(canvas, (size_px, size_px), interpolation=cv2.INTER_AREA)


def filled(outlines: list[np.ndarray], size_px: int) -> np.ndarray:
    """Like `rasterise`, ten times as fast: edges are up to half a pixel too far out; the image border stays empty."""
    canvas = np.zeros((size_px, size_px), np.uint8)
    points = [np.round(((o + 1) * 0.5 * size_px - 0.5) * 256).astype(np.int32) for o in outlines]
    cv2.fillPoly(canvas, points, 255, cv2.LINE_AA, shift=8)
    canvas[[0, -1], :] = 0
    canvas[:, [0, -1]] = 0
    return canvas


def fit(outline: np.ndarray) -> np.ndarray:
    """Move and scale an outline to fill the square, with its proportions unchanged."""
    low, high = outline.min(0), outline.max(0)
    return (outline - (low + high) / 2) * (2 * FILL / max(high - low))


def blob(rng: Rng, roughness: float | None = None) -> np.ndarray:
    """Draw a smooth closed outline whose radius is a random Fourier series of the angle."""
    roughness = float(rng.uniform(0.05, 0.45)) if roughness is None else roughness
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius: np.ndarray = np.ones(96)
    for order in range(1, 9):
        amount = roughness * order**-0.9 * rng.standard_normal(2)
        radius += amount[0] * np.cos(order * angle) + amount[1] * np.sin(order * angle)
    radius = np.maximum(radius, 0.18)
    stretch = np.exp(rng.normal(0, 0.3))
    return rotated(
        np.stack([radius * np.cos(angle) * stretch, radius * np.sin(angle)], 1), rng.uniform(0, 6.3)
    )


def polygon(rng: Rng) -> np.ndarray:
    """Draw a polygon of 3 to 9 corners around a centre, or a star; straight edges."""
    corners = int(rng.integers(3, 10))
    angle = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
    radius = rng.uniform(0.55, 1.0, corners)
    if rng.random() < 0.25:
        angle = np.arange(2 * corners) * np.pi / corners
        radius = np.where(np.arange(2 * corners) % 2, rng.uniform(0.35, 0.7), 1.0)
    return rotated(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), rng.uniform(0, 6.3))


def superellipse(rng: Rng, aspect: float | None = None, power: float | None = None) -> np.ndarray:
    """Draw a shape between a diamond, an ellipse and a rounded box."""
    aspect = float(np.exp(rng.uniform(-0.9, 0.9))) if aspect is None else aspect
    power = float(rng.choice([1.0, 1.0, 0.6, 0.35, 0.15])) if power is None else power
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.sign(cos) * np.abs(cos) ** power * aspect, np.sign(sin) * np.abs(sin) ** power], 1)


def stick(rng: Rng) -> np.ndarray:
    """Draw a thin rod, bent and tapering at random."""
    along = np.linspace(-1, 1, 24)
    width = rng.uniform(0.03, 0.14) * (1 + rng.uniform(-0.6, 0.6) * along)
    bend = rng.normal(0, 0.2) * (along**2 - 0.5)
    upper, lower = np.stack([along, bend + width], 1), np.stack([along, bend - width], 1)
    return rotated(np.concatenate([upper, lower[::-1]]), rng.uniform(0, 6.3))


def limb(rng: Rng, thickness: float) -> np.ndarray:
    """Draw a tapering limb from the middle of the square down to its lower edge."""
    along = np.linspace(0, 1, 14)
    width = thickness * (1 - rng.uniform(0.2, 0.6) * along) + thickness * 0.2 * (along > 0.85)
    knee = rng.normal(0, 0.12) * np.sin(np.pi * along)
    right, left = np.stack([knee + width, along], 1), np.stack([knee - width, along], 1)
    turn = np.linspace(0, np.pi, 8)[1:-1]
    foot = np.stack([knee[-1] + width[-1] * np.cos(turn), 0.93 + width[-1] * np.sin(turn) * 0.5], 1)
    top = np.stack([-width[0] * np.cos(turn), -width[0] * np.sin(turn)], 1)
    return np.concatenate([right * (1, 0.93), foot, left[::-1] * (1, 0.93), top]) * FILL


def rotated(outline: np.ndarray, angle_rad: float) -> np.ndarray:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return outline @ np.array([[cos, sin], [-sin, cos]])


def frayed(rng: Rng, alpha: np.ndarray) -> np.ndarray:
    """Roughen an outline with fine noise, as of fur, foliage or foam: [S, S] uint8."""
    side = alpha.shape[0]
    grain = max(2, int(side / rng.uniform(10, 40)))
    noise = cv2.resize(
        rng.standard_normal((grain * 2, grain * 2)).astype(np.float32),
        (side, side),
        interpolation=cv2.INTER_CUBIC,
    )
    blur = max(3, side // 16 | 1)
    soft = cv2.blur(alpha, (blur, blur)).astype(np.float32) * (1 / 255)
    # The soft edge rises by 1 / blur per pixel: the slope below makes the rough edge about a pixel wide.
    torn = (soft - 0.5 + noise * np.float32(rng.uniform(0.1, 0.35))) * blur * 1.5 + 0.5
    torn = np.clip(torn, 0, 1) * (cv2.dilate(alpha, np.ones((blur, blur), np.uint8)) > 0)
    torn[[0, -1], :] = 0  # the border of a sprite must be transparent
    torn[:, [0, -1]] = 0
    return (torn * 255).astype(np.uint8)


def random_alpha(rng: Rng, size_px: int) -> np.ndarray:
    """Draw a thing in one piece, [size_px, size_px] uint8: blob, polygon, box, stick, ring, several blobs, crescent."""
    kind = rng.choice(7, p=[0.32, 0.12, 0.18, 0.08, 0.1, 0.12, 0.08])
    if kind == 0:
        outlines = [fit(blob(rng))]
    elif kind == 1:
        outlines = [fit(polygon(rng))]
    elif kind == 2:
        outlines = [fit(rotated(superellipse(rng), rng.uniform(0, 6.3)))]
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
    else:  # a crescent: one shape cut out of another
        outer = fit(superellipse(rng, power=1.0))
        bite = superellipse(rng, power=1.0) * rng.uniform(0.5, 0.8) + rotated(
            np.array([[0.75, 0.0]]), rng.uniform(0, 6.3)
        )
        alpha = rasterise([outer], size_px)
        return np.minimum(alpha, 255 - rasterise([bite], size_px))
    return rasterise(outlines, size_px)
