# SPDX-License-Identifier: Apache-2.0
"""Reads the frames that the report of a replay shows: image, predicted masks of each run, true masks.

Knows recordings and truth; does not know the layout of the report.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from sam2_ros.eval.recording import read_results
from sam2_ros.eval.report.worst_frames import FrameKey, FrameMasks
from sam2_ros.media.bag.timeline import BagTimeline
from sam2_ros.media.frames import open_source
from sam2_ros.media.pixels.image_reader import ImageReader, PixelConfig

from .runs import RunOutput
from .score import newest_results
from .truth import ReplayTruth

_log = logging.getLogger(__name__)


def read_frames(
    places: Collection[FrameKey],
    bag: Path,
    timeline: BagTimeline,
    known: ReplayTruth | None,
    runs: Mapping[str, RunOutput],
    pixels: PixelConfig | None = None,
) -> dict[FrameKey, FrameMasks]:
    """Reads the frames, with one pass over the bag and over each recording. Raises SourceError.

    Images that cannot be decoded are left out.
    """
    images = _images({index for _, index in places}, bag, timeline, ImageReader(pixels, warn=_log.debug))
    answers = {
        name: _answers({index for run, index in places if run == name}, runs[name], len(timeline.images))
        for name in {run for run, _ in places}
    }
    scenes = {}
    for name, index in places:
        if index in images:
            truth = known.at(index) if known is not None else None
            scenes[name, index] = FrameMasks(
                images[index], answers[name].get(index, {}), {} if truth is None else truth.masks
            )
    return scenes


def _images(wanted: set[int], bag: Path, timeline: BagTimeline, reader: ImageReader) -> dict[int, np.ndarray]:
    found: dict[int, np.ndarray] = {}
    with open_source(bag, timeline.topic, reader) as source:
        for frame in source:
            if frame.index in wanted:
                found[frame.index] = frame.image
            if len(found) == len(wanted):
                break
    return found


def _answers(wanted: set[int], run: RunOutput, images: int) -> dict[int, dict[str, np.ndarray]]:
    """For each wanted image: the masks by object of the newest result at that time."""
    results = read_results(run.recording, run.objects_topic, run.index_by_stamp)
    return {
        index: {obj.id: obj.mask for obj in result.objects}
        for index, result in enumerate(newest_results(results, images))
        if index in wanted and result is not None
    }
