# SPDX-License-Identifier: Apache-2.0
"""Writes the predicted masks of a sequence as label images that the benchmarks' own tools read, and a video.

Knows file names; does not know scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.engine import FrameResult
from sam2_ros.media.overlay import VideoWriter, draw_overlay
from sam2_ros.media.results import write_label_png
from sam2_ros.result_folder.manifest import name_parts

OVERLAY = "overlay.mp4"
RESULT = "result.json"


def result_file(out: Path, name: str) -> Path:
    """Of a sequence: where it is, everything else of that sequence is complete. Raises UserError."""
    name_parts(name)  # whatever a list says, the file is in `out`
    return out / name / RESULT


def sequence_result_names(sequence: VosSequence) -> list[str]:
    """Of every file that a sequence leaves, relative to the folder of all."""
    masks = [f"{name}.png" for name in sequence.frames.names]
    if sequence.overlapping:
        masks = [f"{key}/{mask}" for key in sequence.first_frames for mask in masks]
    return [f"{sequence.name}/{file}" for file in (*masks, OVERLAY, RESULT)]


class SequenceWriter:
    """`DIR/<sequence>/NNNNN.png`, value = object, named as the frames; `overlay.mp4`; at last `result.json`.

    Where objects may overlap each has a folder of black and white masks, `DIR/<sequence>/<object>/NNNNN.png`.
    `out` is where new results grow: what an attempt that died left there is removed first. Raises OSError, UserError.
    """

    def __init__(self, out: Path, sequence: VosSequence) -> None:
        self._folder = out / sequence.name
        self._sequence = sequence
        result_file(out, sequence.name).unlink(missing_ok=True)
        for folder in self._folders():
            folder.mkdir(parents=True, exist_ok=True)
            name_parts(folder.relative_to(out).as_posix())
            for earlier in folder.glob("*.png"):
                earlier.unlink()
        self._video = VideoWriter(self._folder / OVERLAY, sequence.fps)

    def add(
        self, index: int, image_hw3: np.ndarray, result: FrameResult | None, masks: Mapping[str, np.ndarray]
    ) -> None:
        """One frame; before the first prompt there is no result."""
        name = f"{self._sequence.frames.names[index]}.png"
        nothing = np.zeros(image_hw3.shape[:2], np.uint16)
        if self._sequence.overlapping:
            for folder in self._folders():
                Image.fromarray(masks.get(folder.name, nothing).astype(np.uint8) * 255).save(folder / name)
        else:
            for key, mask in masks.items():
                nothing[mask] = int(key)
            write_label_png(self._folder / name, nothing)
        self._video.write(image_hw3 if result is None else draw_overlay(image_hw3, result))

    def files(self) -> dict[str, Any]:
        """What it leaves, relative to the sequence's folder, as result.json names it."""
        return {
            "overlay": OVERLAY,
            "masks": [f"{name}.png" for name in self._sequence.frames.names],
            "overlapping": self._sequence.overlapping,
        }

    def _folders(self) -> list[Path]:
        if not self._sequence.overlapping:
            return [self._folder]
        return [self._folder / name for name in self._sequence.first_frames]

    def __enter__(self) -> SequenceWriter:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._video.close()
        else:
            self._video.abort()
