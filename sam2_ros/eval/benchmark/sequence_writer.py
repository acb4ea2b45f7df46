# SPDX-License-Identifier: Apache-2.0
"""Writes the predicted masks of a sequence as label images that the benchmarks' tools read, and a video.

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
    """The path of a sequence's result.json. If the file exists, the sequence is complete. Raises UserError."""
    name_parts(name)  # refuses names that lead out of `out`
    return out / name / RESULT


def sequence_result_names(sequence: VosSequence) -> list[str]:
    """The names of all files written for a sequence, relative to the result folder."""
    masks = [f"{name}.png" for name in sequence.frames.names]
    if sequence.overlapping:
        masks = [f"{key}/{mask}" for key in sequence.first_frames for mask in masks]
    return [f"{sequence.name}/{file}" for file in (*masks, OVERLAY, RESULT)]


class SequenceWriter:
    """Writes `DIR/<sequence>/NNNNN.png` (value = object, named as the frames) and `overlay.mp4`.

    If objects may overlap, each has a folder of black and white masks: `DIR/<sequence>/<object>/NNNNN.png`. `out` is
    the staging folder: files of an earlier, aborted attempt are removed first. Raises OSError, UserError.
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
        """Writes one frame. `result` is None before the first prompt."""
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
        """The written files, relative to the sequence's folder, as result.json lists them."""
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
