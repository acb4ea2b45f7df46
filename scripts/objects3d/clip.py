# SPDX-License-Identifier: Apache-2.0
"""Renders one clip: chooses models, motions, light and backdrop, and composites the frames with their labels.

Does not know files of clips.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sam2_ros.synthetic.sensor import Sensor

from .backdrops import draw_backdrop, random_light
from .looks import choose_looks
from .motion import ObjectMotion, plan_motions
from .prepared import PreparedModel, choose_model
from .stage import Camera, Light, Look, Stage

Rng = np.random.Generator
LABELLED_SHARES = (0.1, 0.2, 0.4, 0.3)  # of clips with 1, 2, 3, 4 labelled objects
MOST_OTHERS = 4
COPY_SHARE = 0.4  # of the unlabelled objects: another copy of a labelled model; half of them look the same
SENSOR_SHARE, SHADOW_SHARE = 0.6, 0.5
FIRST_AREA_SHARE = 0.003  # of the image: the least that each labelled object shows on frame 0
PLANS, CASTS = 12, 20  # attempts to find motions, then other models, that show all of them
CHECK_PX = 128  # side of the picture in which most plans that do not show all objects are recognised
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Clip:
    """`frames_thw3` uint8 RGB; `labels_thw` uint8: 0 or the number of a labelled object, from 1 on."""

    frames_thw3: np.ndarray
    labels_thw: np.ndarray
    models: tuple[str, ...]


def render_clip(
    seed: Sequence[int],
    models: Sequence[PreparedModel],
    photographs: Sequence[Path],
    frames: tuple[int, int],
    size: int,
) -> Clip:
    """The clip of a seed: equal seeds, models, photographs and sizes give equal clips.

    Args:
        frames: least and most frames.
        size: side in pixels.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.integers(frames[0], frames[1] + 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backdrop = draw_backdrop(rng, photographs, models, count, size, folder)
        for _ in range(CASTS):
            labelled = 1 + int(rng.choice(4, p=LABELLED_SHARES))
            cast, names = _cast(rng, models, labelled, folder)
            angle_deg = float(rng.uniform(30, 60))
            camera, light = Camera(np.eye(4), angle_deg), random_light(rng)
            with Stage() as stage:
                motions = _visible_motions(rng, stage, cast, labelled, count, size, camera, light)
                if motions is not None:
                    return _composited(rng, stage, motions, labelled, camera, light, backdrop, names)
    raise RuntimeError(
        f"clip of seed {tuple(seed)}: in {CASTS} choices of models some object never shows on frame 0"
    )


def _cast(
    rng: Rng, models: Sequence[PreparedModel], labelled: int, folder: Path
) -> tuple[list[list[Look]], tuple[str, ...]]:
    """The looks of the labelled objects, then of the others; the names of their models."""
    chosen = [choose_model(rng, models) for _ in range(labelled)]
    if labelled > 1 and rng.random() < 0.15:
        chosen[1] = chosen[0]
    looks = [choose_looks(rng, model, folder) for model in chosen]
    for _ in range(int(rng.integers(MOST_OTHERS + 1))):
        if rng.random() < COPY_SHARE:
            original = int(rng.integers(labelled))
            chosen.append(chosen[original])
            looks.append(looks[original] if rng.random() < 0.5 else choose_looks(rng, chosen[-1], folder))
        else:
            chosen.append(choose_model(rng, models))
            looks.append(choose_looks(rng, chosen[-1], folder))
    return looks, tuple(model.folder.name.rsplit("-", 1)[0] for model in chosen)


def _visible_motions(
    rng: Rng,
    stage: Stage,
    cast: list[list[Look]],
    labelled: int,
    frames: int,
    size: int,
    camera: Camera,
    light: Light,
) -> list[ObjectMotion] | None:
    """Motions with which every labelled object shows on frame 0; bodies with the radii of the last plan are added."""
    tangent = float(np.tan(np.deg2rad(camera.field_of_view_deg / 2)))
    for _ in range(PLANS):
        motions = plan_motions(rng, labelled, len(cast) - labelled, frames, tangent)
        stage.clear()
        for looks, motion in zip(cast, motions, strict=True):
            stage.add(looks, motion.radius)
        _pose(stage, motions, 0)
        _, bodies = stage.draw(CHECK_PX, camera, light)
        shares = np.bincount(bodies[bodies >= 0], minlength=labelled)[:labelled] / bodies.size
        if (shares < FIRST_AREA_SHARE).any():
            continue
        _, bodies = stage.draw(SUPERSAMPLING * size, camera, light)
        shares = np.bincount(_labels(bodies, labelled, size).ravel(), minlength=labelled + 1)[1:] / size**2
        if (shares >= FIRST_AREA_SHARE).all():
            return motions
    return None


def _pose(stage: Stage, motions: list[ObjectMotion], frame: int) -> None:
    for body, motion in enumerate(motions):
        stage.place(body, motion.positions_t3[frame], motion.rotations_t33[frame])


def _composited(
    rng: Rng,
    stage: Stage,
    motions: list[ObjectMotion],
    labelled: int,
    camera: Camera,
    light: Light,
    backdrop_thw3: np.ndarray,
    names: tuple[str, ...],
) -> Clip:
    size = backdrop_thw3.shape[1]
    sensor = Sensor.random(rng) if rng.random() < SENSOR_SHARE else None
    shadow = _Shadow.random(rng, size) if rng.random() < SHADOW_SHARE else None
    frames, labels = [], []
    for t, backdrop in enumerate(backdrop_thw3):
        _pose(stage, motions, t)
        picture, bodies = stage.draw(SUPERSAMPLING * size, camera, light)
        cover = _reduced((bodies >= 0).astype(np.float32), size)
        front = _reduced(picture * (bodies >= 0)[..., None].astype(np.float32), size)
        behind = backdrop.astype(np.float32)
        if shadow is not None:
            behind = behind * shadow.on(cover)[..., None]
        frame = np.clip(np.rint(front + behind * (1 - cover[..., None])), 0, 255).astype(np.uint8)
        frames.append(frame if sensor is None else sensor.expose(rng, frame))
        labels.append(_labels(bodies, labelled, size))
    return Clip(np.stack(frames), np.stack(labels), names)


def _reduced(image: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _labels(bodies: np.ndarray, labelled: int, size: int) -> np.ndarray:
    """The object that covers most of each pixel, if a labelled one does: ``[size, size]`` uint8."""
    rest = _reduced(((bodies < 0) | (bodies >= labelled)).astype(np.float32), size)
    shares = [rest, *(_reduced((bodies == i).astype(np.float32), size) for i in range(labelled))]
    return np.argmax(shares, axis=0).astype(np.uint8)


@dataclass(frozen=True)
class _Shadow:
    """A soft shadow of the objects on the backdrop, shifted and blurred."""

    strength: float
    shift_px: tuple[float, float]
    blur_px: float

    @staticmethod
    def random(rng: Rng, size: int) -> _Shadow:
        x, y = rng.uniform(-0.08, 0.08, 2) * size
        return _Shadow(
            float(rng.uniform(0.2, 0.6)), (float(x), float(abs(y))), float(rng.uniform(0.01, 0.04) * size)
        )

    def on(self, cover_hw: np.ndarray) -> np.ndarray:
        matrix = np.array([[1, 0, self.shift_px[0]], [0, 1, self.shift_px[1]]])
        moved = cv2.warpAffine(cover_hw, matrix, cover_hw.shape[::-1])
        return 1 - self.strength * cv2.GaussianBlur(moved, (0, 0), self.blur_px)
