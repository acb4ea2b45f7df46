# SPDX-License-Identifier: Apache-2.0
"""J and F of every object on every scored frame, and their means, as the DAVIS benchmark defines them.

Knows masks and truth; does not know who made the masks.
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
    """One object on one frame that counts.

    Attributes:
        frame: position in the sequence.
        j, f: 0..1.
        visible: the truth shows the object.
        empty: the answer has no pixel.
        presence: the model's object score logit, above 0 = visible; None = who answered has no such thing.
        state: name of the tracker's state, None likewise.
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
    """One object over the frames that count for it, at least one."""

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
        """The frames that do not show it."""
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
    """Collects the masks of one sequence.

    The first and the last annotated frame do not count (semi-supervised DAVIS 2017), nor does any frame up to the one
    an object was prompted on. A frame that does not show an object counts 1 when its mask is empty, else 0.
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
        """The answer for an annotated frame, ``[H, W]`` bool by object; an object without a mask = called absent.

        `tracked`: what else the tracker said of the objects.
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
        """Objects with at least one frame that counts, in the order they appear."""
        return [ObjectScores(name, tuple(curve)) for name, curve in self._curves.items() if curve]


def decay(values: Sequence[float]) -> float | None:
    """The mean of the first quarter of a series minus that of the last one (Perazzi et al. 2016, 5.1).

    Quarters share the value on their border, as in the benchmark's own tool. None for fewer than four values.
    """
    count = len(values)
    if count < LEAST_FRAMES_OF_DECAY:
        return None
    # The 1e-10 makes halves round up, which is what the tool does.
    borders = np.round(np.linspace(1, count, 5) + 1e-10).astype(int) - 1
    first, last = values[borders[0] : borders[1] + 1], values[borders[3] : borders[4] + 1]
    return float(np.mean(first) - np.mean(last))


def percent(objects: Sequence[ObjectScores]) -> dict[str, float | None]:
    """`{"J", "F", "JF"}` in percent: the mean over objects, each of the same weight; None without an object."""
    return {
        "J": in_percent(mean(one.j for one in objects)),
        "F": in_percent(mean(one.f for one in objects)),
        "JF": in_percent(mean(one.jf for one in objects)),
    }


def absent_percent(objects: Sequence[ObjectScores]) -> float | None:
    """Of the frames that do not show an object, those with an empty answer, in percent; None where all show."""
    return in_percent(mean(float(frame.empty) for one in objects for frame in one.hidden))


def false_presence_percent(objects: Sequence[ObjectScores]) -> float | None:
    """Of the frames that do not show an object, those whose state is TRACKING, in percent; None where all show."""
    states = [frame.state for one in objects for frame in one.hidden if frame.state is not None]
    return in_percent(mean(float(state == ObjectState.TRACKING.name) for state in states))


def decay_percent(objects: Sequence[ObjectScores]) -> float | None:
    """The mean decay of J&F in points, over the objects with frames enough for one; None without."""
    return in_percent(mean(one.jf_decay() for one in objects))


def presence_calibration(objects: Sequence[ObjectScores]) -> dict[str, Any] | None:
    """Over all frames that count, see `calibration`; None where every object always shows."""
    known = [(f.presence, f.visible) for one in objects for f in one.curve if f.presence is not None]
    visible = [shown for _, shown in known]
    if all(visible):
        return None
    found = calibration([presence for presence, _ in known], visible, "frames")
    return {**found, "hidden": visible.count(False)}


def means(objects: Sequence[ObjectScores]) -> dict[str, float | None]:
    """Of some objects, in percent."""
    return {
        **percent(objects),
        "absent": absent_percent(objects),
        "decay": decay_percent(objects),
        "false_presence": false_presence_percent(objects),
    }


def object_means(one: ObjectScores) -> dict[str, Any]:
    """What is said of one object, without its curve."""
    return {
        **means([one]),
        "J_decay": in_percent(decay([frame.j for frame in one.curve])),
        "F_decay": in_percent(decay([frame.f for frame in one.curve])),
        "frames": len(one.curve),
    }


def disjoint(masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``[H, W]`` bool masks of which no two share a pixel: the smaller has it, as in label images of the tracker."""
    taken: np.ndarray | None = None
    parted = {}
    for name, mask in sorted(masks.items(), key=lambda item: int(item[1].sum())):
        parted[name] = mask if taken is None else mask & ~taken
        taken = mask if taken is None else taken | mask
    return {name: parted[name] for name in masks}
