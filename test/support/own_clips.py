# SPDX-License-Identifier: Apache-2.0
"""Writes clips as users have them, in both layouts, with objects that nano segments wrongly.

Each object is a ring of coloured beads; the ground shows between the beads. Knows nothing of training.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def beads(seed: int, frames: int, size: int, things: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Frames ``[t, size, size, 3]`` uint8 and label images ``[t, size, size]`` uint8, values from 1 on."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(60, 190, (size // 16, size // 16, 3), dtype=np.uint8), (size, size))
    middle = rng.uniform(0.35, 0.65, (things, 2)) * size
    step, spin = rng.uniform(-1, 1, (things, 2)) * size / 80, rng.uniform(-0.06, 0.06, things)
    pictures, labels = np.empty((frames, size, size, 3), np.uint8), np.zeros((frames, size, size), np.uint8)
    for t in range(frames):
        picture = ground.copy()
        for thing in range(things):
            for bead, angle in enumerate(np.arange(8) * np.pi / 4 + spin[thing] * t):
                place = (
                    middle[thing] + step[thing] * t + size * 0.19 * np.array([np.cos(angle), np.sin(angle)])
                )
                colour = (235, 200, 30) if bead % 2 else (40, 30, 120)
                at = (round(float(place[0])), round(float(place[1])))
                cv2.circle(picture, at, round(size * 0.06), colour, -1)
                cv2.circle(labels[t], at, round(size * 0.06), thing + 1, -1)
        noise = rng.normal(0, 4, picture.shape)
        pictures[t] = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return pictures, labels


def write_palette(path: Path, labels: np.ndarray) -> None:
    image = Image.fromarray(labels, "P")
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200] + [90] * (252 * 3))
    image.save(path)


def write_clip(folder: Path, frames: np.ndarray, labels: np.ndarray, davis: str = "") -> None:
    """Writes ``folder/frames`` and ``folder/masks``; with `davis`, a sequence of JPEGImages and Annotations."""
    pictures, masks = folder / "frames", folder / "masks"
    if davis:
        pictures, masks = folder / "JPEGImages" / davis, folder / "Annotations" / davis
    for place in (pictures, masks):
        place.mkdir(parents=True)
    for number, (frame, values) in enumerate(zip(frames, labels, strict=True)):
        cv2.imwrite(str(pictures / f"{number:05d}.jpg"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        write_palette(masks / f"{number:05d}.png", values)


def write_beads(
    folder: Path, clips: int, frames: int, size: int, things: int = 1, first_seed: int = 0
) -> Path:
    """Writes sequences clip_0, clip_1, ... in the folder layout."""
    for number in range(clips):
        write_clip(folder / f"clip_{number}", *beads(first_seed + number, frames, size, things))
    return folder
