# SPDX-License-Identifier: Apache-2.0
"""Reads the frames that the report of an evaluation shows: image, predicted masks, true masks.

Knows where `sequence_writer` wrote the masks; does not know the layout of the report.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from sam2_ros.datasets.sequence import VosSequence, read_label_image
from sam2_ros.eval.report.data import read_eval
from sam2_ros.eval.report.eval_page import write_eval_page
from sam2_ros.eval.report.worst_frames import FrameKey, FrameMasks


def write_eval_report(out: Path, sequences: Sequence[VosSequence], path: Path) -> None:
    """Writes the report of the summary.json in `out` as a page at `path`. Raises SourceError, OSError."""
    by_name = {sequence.name: sequence for sequence in sequences}

    def read_frames(places: Collection[FrameKey]) -> dict[FrameKey, FrameMasks]:
        return {(name, index): read_frame(out, by_name[name], index) for name, index in places}

    write_eval_page(path, read_eval(out), read_frames)


def read_frame(out: Path, sequence: VosSequence, index: int) -> FrameMasks:
    """Reads image, predicted and true masks of an evaluated frame. Raises SourceError."""
    image = sequence.image(index)
    truth = sequence.annotated(index, image)
    file = f"{sequence.frames.names[index]}.png"
    folder = out / sequence.name
    if sequence.overlapping:
        answers = {name: read_label_image(folder / name / file) > 0 for name in sequence.first_frames}
    else:
        values = read_label_image(folder / file)
        answers = {name: values == int(name) for name in sequence.first_frames}
    truths: dict[str, np.ndarray] = {} if truth is None else dict(truth.masks)
    return FrameMasks(image, answers, truths)
