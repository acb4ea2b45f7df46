# SPDX-License-Identifier: Apache-2.0
"""Writes a few frames with known masks in the layouts of published video data sets.

Knows nothing of the code that reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from sam2_ros.media.results import write_label_png

HEIGHT, WIDTH = 40, 60


def labels_of(*squares: tuple[int, int, int], size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """A label image of 10 px squares: value, x, y of the upper left corner."""
    labels = np.zeros(size, np.uint16)
    for value, x, y in squares:
        labels[y : y + 10, x : x + 10] = value
    return labels


def write_frames(folder: Path, images: Sequence[np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index:05d}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def grey_frames(count: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> list[np.ndarray]:
    """Frames whose brightness is 10 times their number."""
    return [np.full((*size, 3), 10 * index, np.uint8) for index in range(count)]


def write_masks(folder: Path, labels: dict[int, np.ndarray]) -> None:
    """Writes a palette image for each frame."""
    folder.mkdir(parents=True)
    for index, image in labels.items():
        write_label_png(folder / f"{index:05d}.png", image)


def write_sequence(folder: Path, images: Sequence[np.ndarray], labels: dict[int, np.ndarray]) -> Path:
    """Writes frames/ and masks/ of one sequence in the project's own layout."""
    write_frames(folder / "frames", images)
    write_masks(folder / "masks", labels)
    return folder
