# SPDX-License-Identifier: Apache-2.0
"""Plans the motion of the objects of a clip as a fixed camera sees them: paths, sizes, turns, occlusions.

Knows geometry only; does not know models or pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rng = np.random.Generator
TURN_DEG = (90.0, 540.0)  # over the clip
GROWTH = (1.5, 8.0)  # largest over smallest size in the image
LARGEST, SMALLEST = (0.3, 0.95), 0.06  # radius in halves of the image's side
FIRST = 0.2  # smallest radius of a labelled object on frame 0
LEAVES_SHARE, HIDDEN_SHARE, UPRIGHT_SHARE = 0.3, 0.6, 0.5
FRAMES_PER_KNOT = (4.0, 9.0)  # how fast objects move: places and sizes are drawn anew that often
Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # model's z to camera's y


@dataclass(frozen=True)
class ObjectMotion:
    """Attributes: `positions_t3` in camera coordinates, `rotations_t33` model to camera, `radius` of the object."""

    positions_t3: np.ndarray
    rotations_t33: np.ndarray
    radius: float


@dataclass
class _Path:
    """Values at k knots, in halves of the image's side: place (the image's middle is 0, its edges -1 and 1), radius."""

    places_k2: np.ndarray
    radii_k: np.ndarray


def plan_motions(rng: Rng, labelled: int, others: int, frames: int, tangent: float) -> list[ObjectMotion]:
    """Motions of the labelled objects, then of the others. `tangent`: of half the field of view."""
    knots = max(4, round(frames / rng.uniform(*FRAMES_PER_KNOT)))
    starts = _apart(rng, labelled + others)
    paths = [_path(rng, knots, start, i < labelled) for i, start in enumerate(starts)]
    scales = np.exp(rng.uniform(np.log(0.6), np.log(1.6), len(paths)))
    for victim in range(labelled):
        if rng.random() < LEAVES_SHARE:
            _leave(rng, paths[victim])
    if len(paths) > 1 and rng.random() < HIDDEN_SHARE:
        victim = int(rng.integers(labelled))
        occluder = int(rng.choice([i for i in range(len(paths)) if i != victim]))
        scales[occluder] = _hide(rng, paths[victim], paths[occluder], scales[victim], tangent)
    times = np.linspace(0, 1, frames)
    sway_t2 = rng.uniform(0, 0.12) * (
        spline(rng.uniform(-1, 1, (6, 2)), times) if rng.random() < 0.5 else 0 * times[:, None]
    )
    return [
        _motion(rng, path, scale, times, sway_t2 - sway_t2[0], tangent)
        for path, scale in zip(paths, scales, strict=True)
    ]


def spline(values_kc: np.ndarray, times_t: np.ndarray) -> np.ndarray:
    """Catmull-Rom spline through values at equal steps, ``[t, c]`` at times 0..1."""
    k = len(values_kc)
    padded = np.concatenate(
        [2 * values_kc[:1] - values_kc[1:2], values_kc, 2 * values_kc[-1:] - values_kc[-2:-1]]
    )
    place = np.clip(times_t * (k - 1), 0, k - 1 - 1e-9)
    index = place.astype(int)
    x = (place - index)[:, None]
    p0, p1, p2, p3 = (padded[index + i] for i in range(4))
    return 0.5 * (
        2 * p1 + (p2 - p0) * x + (2 * p0 - 5 * p1 + 4 * p2 - p3) * x**2 + (3 * p1 - p0 - 3 * p2 + p3) * x**3
    )


def rotation(axis_3: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' formula, ``[3, 3]``; the angle in radians."""
    x, y, z = axis_3 / np.linalg.norm(axis_3)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _apart(rng: Rng, count: int) -> np.ndarray:
    tries = rng.uniform(-0.65, 0.65, (60, count, 2))
    if count == 1:
        return tries[0]
    gaps = np.linalg.norm(tries[:, :, None] - tries[:, None], axis=-1) + 9 * np.eye(count)
    return tries[gaps.min(axis=(1, 2)).argmax()]


def _path(rng: Rng, knots: int, start_2: np.ndarray, labelled: bool) -> _Path:
    places = rng.uniform(-0.8, 0.8, (knots, 2))
    places[0] = start_2
    places[1] = start_2 + 0.6 * (places[1] - start_2)
    largest = rng.uniform(*LARGEST)
    smallest = max(SMALLEST, largest / np.exp(rng.uniform(*np.log(GROWTH))))
    radii = np.exp(rng.uniform(np.log(smallest), np.log(largest), knots))
    low, high = rng.choice(knots, 2, replace=False)
    radii[low], radii[high] = smallest, largest
    radii[0] = np.clip(radii[0], FIRST if labelled else SMALLEST, 0.55)
    return _Path(places, radii)


def _leave(rng: Rng, path: _Path) -> None:
    knot = int(rng.integers(1, len(path.radii_k) - 1))
    angle = rng.uniform(0, 2 * np.pi)
    outside = np.array([np.cos(angle), np.sin(angle)])
    path.radii_k[knot] = min(path.radii_k[knot], 0.5)
    path.places_k2[knot] = outside / np.abs(outside).max() * (1.15 + path.radii_k[knot])


def _hide(rng: Rng, victim: _Path, occluder: _Path, scale: float, tangent: float) -> float:
    """Brings the occluder in front of the victim; returns the occluder's radius, which decides its distance."""
    knot = int(rng.integers(1, len(victim.radii_k)))
    victim.radii_k[knot] = min(victim.radii_k[knot], 0.4)
    victim.places_k2[knot] = np.clip(victim.places_k2[knot], -0.6, 0.6)
    occluder.radii_k[knot] = rng.uniform(1.5, 2.4) * victim.radii_k[knot]
    occluder.places_k2[knot] = victim.places_k2[knot] + rng.uniform(-0.1, 0.1, 2)
    far, near = 1 / (victim.radii_k[knot] * tangent), 1 / (occluder.radii_k[knot] * tangent)
    return float(0.9 * scale * (far - 1) / (near + 1))


def _motion(
    rng: Rng, path: _Path, radius: float, times_t: np.ndarray, sway_t2: np.ndarray, tangent: float
) -> ObjectMotion:
    places = spline(path.places_k2, times_t) + sway_t2
    sizes = np.exp(spline(np.log(path.radii_k)[:, None], times_t))[:, 0].clip(SMALLEST / 2, 1.1)
    depth = radius / (sizes * tangent)
    positions = np.column_stack([places * (depth * tangent)[:, None], -depth])
    return ObjectMotion(positions, _turn(rng, times_t), float(radius))


def _turn(rng: Rng, times_t: np.ndarray) -> np.ndarray:
    """A turn by `TURN_DEG` in all about an axis that itself drifts from one direction to another."""
    upright = rng.random() < UPRIGHT_SHARE
    first, last = rng.standard_normal((2, 3))
    start = rotation(rng.standard_normal(3), rng.uniform(0, np.pi)) @ Z_UP
    if upright:
        first, last = (np.array([0, 1.0, 0]) + 0.25 * v for v in (first, last))
        tilt = rotation(np.array([1.0, 0, 0]), np.deg2rad(rng.uniform(0, 35)))
        start = tilt @ rotation(np.array([0, 1.0, 0]), rng.uniform(0, 2 * np.pi)) @ Z_UP
    speed = np.exp(spline(rng.uniform(-0.7, 0.7, (4, 1)), times_t))[:, 0]
    total = np.deg2rad(rng.uniform(*TURN_DEG)) * rng.choice([-1, 1])
    steps = total * speed[1:] / speed[1:].sum()
    rotations = [start]
    for time, step in zip(times_t[1:], steps, strict=True):
        axis = (1 - time) * first / np.linalg.norm(first) + time * last / np.linalg.norm(last)
        rotations.append(rotation(axis, step) @ rotations[-1])
    return np.stack(rotations)
