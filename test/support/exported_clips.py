# SPDX-License-Identifier: Apache-2.0
"""A small clip of two moving discs with their masks, as the exports of the browser page get it.

Knows nothing of the files that are exported.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sam2_ros.ui.export.exported import (
    ExportedFrame,
    ExportedMask,
    ExportedObject,
    ExportedSource,
    ExportRequest,
)

WIDTH, HEIGHT, FRAMES = 96, 64, 8
OBJECTS = (ExportedObject(2, "cup", "tableware", "#d02030"), ExportedObject(5, "../ball", "", "#2030d0"))


def masks_at(index: int) -> dict[int, np.ndarray]:
    """Number of each object -> [H, W] bool; object 5 is in front of object 2, and absent from frame 6 on."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    ball = (rows - 34) ** 2 + (columns - 50) ** 2 <= 7**2
    return {
        2: (rows - 32) ** 2 + (columns - 24 - 4 * index) ** 2 <= 14**2,
        5: ball if index < 6 else np.zeros((HEIGHT, WIDTH), bool),
    }


def image_at(index: int) -> np.ndarray:
    """[H, W, 3] uint8 RGB."""
    image = np.random.default_rng(0).integers(90, 130, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    masks = masks_at(index)
    image[masks[2]] = (220, 40, 30)
    image[masks[5]] = (30, 40, 220)
    return image


def frames(with_images: bool = False, first_ns: int = 0, frame_id: str = "") -> list[ExportedFrame]:
    """All frames, 40 ms apart; the last one was tracked, and has no object."""
    found = []
    for index in range(FRAMES):
        masks = [ExportedMask(number, mask, 3.0, 0.9) for number, mask in masks_at(index).items()]
        image = image_at(index) if with_images else None
        stamp_ns = first_ns + index * 40_000_000
        found.append(ExportedFrame(index, stamp_ns, masks if index < 7 else (), image, frame_id=frame_id))
    return found


def request(folder: Path, source: Path, **more: object) -> ExportRequest:
    known = {"width_px": WIDTH, "height_px": HEIGHT, "fps": 25.0, "frames": FRAMES}
    options = {key: more.pop(key) for key in list(more) if key in ("on_progress", "is_cancelled", "objects")}
    exported = ExportedSource(**{"name": "my clip", "path": source, **known, **more})
    return ExportRequest(exported, options.pop("objects", OBJECTS), folder / "exports", **options)


def write_video(path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (WIDTH, HEIGHT))
    for index in range(FRAMES):
        writer.write(cv2.cvtColor(image_at(index), cv2.COLOR_RGB2BGR))
    writer.release()
    return path
