# SPDX-License-Identifier: Apache-2.0
"""Tracks held-out sequences as the node does, and scores them: J, F and their mean, as the DAVIS benchmark.

Knows sequences and the tracker; does not know training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.engine import Prompt, Tracker, TrackerConfig
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.eval.benchmark.prompting import Clicks
from sam2_ros.eval.metrics import boundary_f, region_j

SAMPLES = 6


@dataclass(frozen=True)
class SampleFrame:
    """One frame of a tracked sequence with true and predicted masks, for a picture."""

    frame_hwc: np.ndarray
    truth_nhw: np.ndarray
    found_nhw: np.ndarray


@dataclass(frozen=True)
class SequenceScore:
    """Means over the objects of one sequence, 0..1, and some of its frames."""

    name: str
    j: float
    f: float
    objects: int
    samples: tuple[SampleFrame, ...]


def track_and_score(
    model: Sam2Model, sequence: VosSequence, prompt: str, frames: int
) -> SequenceScore | None:
    """Tracks every object from the first annotated frame that shows it, and scores the annotated frames after it.

    Args:
        prompt: "box", "mask" or "click" (the pixel farthest from the edge of the mask).
        frames: most frames, from the start of the sequence.

    Returns:
        The scores; None if no object is visible on two annotated frames, so that there is nothing to score.
    """
    indices = [i for i in sequence.truth.indices if i < frames]
    first = {name: index for name, index in sequence.first_frames.items() if index < frames}
    if not first:
        return None
    tracker = Tracker(model, TrackerConfig(max_objects=len(first), forget_after_s=0))
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in first}
    sampled = {indices[k] for k in np.linspace(0, len(indices) - 1, SAMPLES).round().astype(int)}
    samples = []
    for index in range(indices[-1] + 1):
        frame = sequence.image(index)
        truth = sequence.annotated(index, frame)
        if truth is None:
            tracker.step(frame)
            continue
        new = [name for name, begin in first.items() if begin == index]
        result = tracker.step(frame, [_prompt(name, truth.mask(name), prompt) for name in new])
        found = {obj.id: obj.mask for obj in result.objects}
        for name, begin in first.items():
            if begin < index:
                mask = truth.mask(name)
                scores[name].append((region_j(found[name], mask), boundary_f(found[name], mask)))
        if index in sampled:
            empty = np.zeros(frame.shape[:2], bool)
            samples.append(
                SampleFrame(
                    frame,
                    np.stack([truth.mask(name) for name in first]),
                    np.stack([found.get(name, empty) for name in first]),
                )
            )
    means = [np.mean(pairs, axis=0) for pairs in scores.values() if pairs]
    if not means:
        return None
    j, f = np.mean(means, axis=0)
    return SequenceScore(sequence.name, float(j), float(f), len(means), tuple(samples))


def _prompt(id: str, mask_hw: np.ndarray, kind: str) -> Prompt:
    if kind == "mask":
        return Prompt(id, mask=mask_hw)
    if kind == "box":
        return Prompt(id, box=tight_box(mask_hw))
    click = Clicks()
    click.add_on_error(np.zeros_like(mask_hw), mask_hw)
    return click.prompt(id)
