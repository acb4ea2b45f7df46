# SPDX-License-Identifier: Apache-2.0
"""Photographs that tests draw: green scenes with red objects of two classes, in memory or as a folder in COCO's layout.

Knows nothing of what is made of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 240, 320
DISC, BAR, CUT_OFF, TINY, PIECES = range(5)  # the instances of each photograph
CATEGORIES = (1, 2, 1, 2, 2)


@dataclass(frozen=True)
class OwnPhotograph:
    """A `PhotographRecord`: grey-green noise, objects of red noise."""

    seed: int

    @property
    def name(self) -> str:
        return f"own{self.seed}"

    @property
    def hw(self) -> tuple[int, int]:
        return HEIGHT, WIDTH

    @property
    def categories(self) -> tuple[int, ...]:
        return CATEGORIES

    def image(self) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        noise = cv2.GaussianBlur(rng.integers(0, 60, (HEIGHT, WIDTH, 3)).astype(np.uint8), (5, 5), 0)
        image = noise + np.array([30, 120, 40], np.uint8)
        for mask in self.masks():
            image[mask] = noise[mask] + np.array([180, 20, 30], np.uint8)
        return image

    def masks(self) -> list[np.ndarray]:
        shift = 4 * self.seed
        masks = [np.zeros((HEIGHT, WIDTH), np.uint8) for _ in CATEGORIES]
        cv2.circle(masks[DISC], (90, 80 + shift), 45, 1, -1)
        cv2.rectangle(masks[BAR], (170, 40 + shift), (290, 90 + shift), 1, -1)
        cv2.rectangle(masks[CUT_OFF], (200, 190), (300, HEIGHT), 1, -1)
        cv2.rectangle(masks[TINY], (20, 200), (34, 214), 1, -1)
        for x in (60, 110):
            cv2.rectangle(masks[PIECES], (x, 190), (x + 30, 220), 1, -1)
        return [mask.astype(bool) for mask in masks]


def own_records(count: int = 3) -> list[OwnPhotograph]:
    return [OwnPhotograph(seed) for seed in range(count)]


def write_coco(folder: Path, count: int = 2) -> Path:
    """Write photographs with polygons, one mask in run lengths, and a crowd over everything."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for record in own_records(count):
        file = f"{record.name}.png"
        cv2.imwrite(str(folder / "images" / file), record.image()[..., ::-1])
        images.append({"id": record.seed, "file_name": file, "height": HEIGHT, "width": WIDTH})
        for number, mask in enumerate(record.masks()):
            outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            polygons = [outline.ravel().astype(float).tolist() for outline in outlines]
            segmentation = _run_lengths(mask) if number == BAR else polygons
            annotations.append(
                {
                    "image_id": record.seed,
                    "segmentation": segmentation,
                    "iscrowd": 0,
                    "category_id": CATEGORIES[number],
                }
            )
        everything = _run_lengths(np.ones((HEIGHT, WIDTH), bool))
        annotations.append(
            {"image_id": record.seed, "segmentation": everything, "iscrowd": 1, "category_id": 1}
        )
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return folder


def _run_lengths(mask: np.ndarray) -> dict[str, object]:
    """Encode a mask as COCO's uncompressed run lengths: column by column, beginning with zeros."""
    flat = np.concatenate([[False], mask.T.ravel()])
    changes = np.flatnonzero(np.diff(flat.astype(int)))
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}
