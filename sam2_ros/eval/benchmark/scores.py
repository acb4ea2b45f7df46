# SPDX-License-Identifier: Apache-2.0
"""J and F of every object on every scored frame, and their means, as the DAVIS benchmark defines them.

Knows masks and ground truth; does not know where the masks come from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam2_ros.datasets.sequence import FrameTruth, VosSequence
from sam2_ros.engine import ObjectState, TrackedObject
from sam2_ros.eval.calibration import calibration
from sam2_ros.eval.metrics import boundary_f, in_percent, mean, region_j

LEAST_FRAMES_OF_DECAY = 4


@dataclass(frozen=True)
class ScoredFrame:
    """One object on one scored frame.

    Attributes:
        frame: index in the sequence.
        j, f: 0..1.
        visible: the object is visible in the ground truth.
        empty: the predicted mask has no pixel.
        presence: the model's object score logit, above 0 = visible; None = the method has none (baselines).
        state: name of the tracker's state; None = the method has none.
    """

    frame: int
    j: float
    f: float
    visible: bool
    empty: bool
    presence: float | None = None
    state: str | None = None


@dataclass(frozen=True)
class ObjectScores:
    """One object over its scored frames, at least one."""

    name: str
    curve: tuple[ScoredFrame, ...]

    @property
    def j(self) -> float:
        return float(np.mean([one.j for one in self.curve]))

    @property
    def f(self) -> float:
        return float(np.mean([one.f for one in self.curve]))

    @property
    def jf(self) -> float:
        return (self.j + self.f) / 2

    @property
    def hidden(self) -> list[ScoredFrame]:
        """The scored frames on which the object is not visible."""
        return [one for one in self.curve if not one.visible]

    def jf_decay(self) -> float | None:
        """See `decay`."""
        return decay([(one.j + one.f) / 2 for one in self.curve])

    def record(self) -> dict[str, Any]:
        """As result.json has it: scores in percent, the curve in columns."""
        curve: dict[str, list[Any]] = {
            "frame": [one.frame for one in self.curve],
            "J": [round(100 * one.j, 4) for one in self.curve],
            "F": [round(100 * one.f, 4) for one in self.curve],
            "visible": [one.visible for one in self.curve],
            "empty": [one.empty for one in self.curve],
        }
        if any(one.state is not None for one in self.curve):
            curve["presence"] = [one.presence for one in self.curve]
            curve["state"] = [one.state for one in self.curve]
        return {**object_means(self), "curve": curve}

    @classmethod
    def from_record(cls, name: str, record: Mapping[str, Any]) -> ObjectScores:
        """The inverse of `record`, up to the rounding of the curve."""
        curve = record["curve"]
        nothing = [None] * len(curve["frame"])
        columns = zip(
            curve["frame"],
            (j / 100 for j in curve["J"]),
            (f / 100 for f in curve["F"]),
            curve["visible"],
            curve["empty"],
            curve.get("presence", nothing),
            curve.get("state", nothing),
            strict=True,
        )
        return cls(name, tuple(ScoredFrame(*one) for one in columns))


class SequenceScorer:
    """Scores the masks of one sequence, frame by frame.

    Not scored: the first and the last annotated frame (semi-supervised DAVIS 2017), and all frames up to the one on
    which an object was prompted. On a frame where the object is not visible, an empty mask scores 1, any other 0.
    """

    def __init__(self, sequence: VosSequence) -> None:
        self._prompted = sequence.first_frames
        self._last = sequence.truth.indices[-1]
        self._curves: dict[str, list[ScoredFrame]] = {name: [] for name in self._prompted}

    def add(
        self,
        index: int,
        masks: Mapping[str, np.ndarray],
        truth: FrameTruth,
        tracked: Sequence[TrackedObject] = (),
    ) -> None:
        """Scores the masks of an annotated frame, ``[H, W]`` bool by object; a missing mask counts as empty.

        `tracked`: the tracker's objects, for presence and state.
        """
        if index == self._last:
            return
        counts_hw = None if truth.void_hw is None else ~truth.void_hw
        said = {one.id: one for one in tracked}
        for name, prompted in self._prompted.items():
            if index <= prompted:
                continue
            known = truth.mask(name)
            answer = masks.get(name, np.zeros_like(known))
            if counts_hw is not None:
                known, answer = known & counts_hw, answer & counts_hw
            one = said.get(name)
            scored = ScoredFrame(
                index,
                region_j(answer, known),
                boundary_f(answer, known),
                bool(known.any()),
                not answer.any(),
                round(one.presence, 4) if one is not None and math.isfinite(one.presence) else None,
                None if one is None else one.state.name,
            )
            self._curves[name].append(scored)

    def objects(self) -> list[ObjectScores]:
        """The objects with at least one scored frame, in order of appearance."""
        return [ObjectScores(name, tuple(curve)) for name, curve in self._curves.items() if curve]


def decay(values: Sequence[float]) -> float | None:
    """Mean of the first quarter of a series minus the mean of the last quarter (Perazzi et al. 2016, 5.1).

    Neighbouring quarters share the value at their border, as in the benchmark's tool. None for fewer than four values.
    """
    count = len(values)
    if count < LEAST_FRAMES_OF_DECAY:
        return None
    # The 1e-10 rounds halves up, as the tool does.
    borders = np.round(np.linspace(1, count, 5) + 1e-10).astype(int) - 1
    first, last = values[borders[0] : borders[1] + 1], values[borders[3] : borders[4] + 1]
    return float(np.mean(first) - np.mean(last))


def percent(objects: Sequence[ObjectScores]) -> dict[str, float | None]:
    """`{"J", "F", "JF"}` in percent: the mean over objects with equal weights; None without an object."""
    return {
        "J": in_percent(mean(one.j for one in objects)),
        "F": in_percent(mean(one.f for one in objects)),
        "JF": in_percent(mean(one.jf for one in objects)),
    }


def absent_percent(objects: Sequence[ObjectScores]) -> float | None:
    """Percentage of frames with an empty mask among those with a hidden object; None if no object is ever hidden."""
    return in_percent(mean(float(frame.empty) for one in objects for frame in one.hidden))


def false_presence_percent(objects: Sequence[ObjectScores]) -> float | None:
    """Percentage of frames in state TRACKING among those with a hidden object; None if no object is ever hidden."""
    states = [frame.state for one in objects for frame in one.hidden if frame.state is not None]
    return in_percent(mean(float(state == ObjectState.TRACKING.name) for state in states))


def decay_percent(objects: Sequence[ObjectScores]) -> float | None:
    """Mean decay of J&F in points, over the objects with enough frames; None if there is none."""
    return in_percent(mean(one.jf_decay() for one in objects))


def presence_calibration(objects: Sequence[ObjectScores]) -> dict[str, Any] | None:
    """Calibration over all scored frames, see `calibration`; None if no object is ever hidden."""
    known = [(f.presence, f.visible) for one in objects for f in one.curve if f.presence is not None]
    visible = [shown for _, shown in known]
    if all(visible):
        return None
    found = calibration([presence for presence, _ in known], visible, "frames")
    return {**found, "hidden": visible.count(False)}


def means(objects: Sequence[ObjectScores]) -> dict[str, float | None]:
    """All mean scores over some objects, in percent."""
    return {
        **percent(objects),
        "absent": absent_percent(objects),
        "decay": decay_percent(objects),
        "false_presence": false_presence_percent(objects),
    }


def object_means(one: ObjectScores) -> dict[str, Any]:
    """The scores of one object, without its curve."""
    return {
        **means([one]),
        "J_decay": in_percent(decay([frame.j for frame in one.curve])),
        "F_decay": in_percent(decay([frame.f for frame in one.curve])),
        "frames": len(one.curve),
    }


def disjoint(masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes overlap of ``[H, W]`` bool masks: a shared pixel goes to the smaller mask, as in `~/label_image`."""
    taken: np.ndarray | None = None
    parted = {}
    for name, mask in sorted(masks.items(), key=lambda item: int(item[1].sum())):
        parted[name] = mask if taken is None else mask & ~taken
        taken = mask if taken is None else taken | mask
    return {name: parted[name] for name in masks}
