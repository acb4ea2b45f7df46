"""J and F of every object of a sequence, over the frames that count, and their means, as the DAVIS benchmark has it.

Knows masks and truth; does not know who made the masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam2_ros.eval.metrics import boundary_f, region_j
from sam2_ros.media.datasets.sequence import FrameTruth, VosSequence


@dataclass(frozen=True)
class ObjectJF:
    """Means over the frames that count for one object; `frames` is their number, at least 1.

    Of these it is hidden, or out of the image, in `hidden`, and the answer is empty there in `called_absent`.
    """

    name: str
    j: float
    f: float
    frames: int
    hidden: int = 0
    called_absent: int = 0

    @property
    def jf(self) -> float:
        return (self.j + self.f) / 2


class SequenceScorer:
    """Collects the masks of one sequence.

    The first and the last annotated frame do not count (semi-supervised DAVIS 2017), nor does any frame up to the one
    an object was prompted on. A frame that does not show an object counts 1 when its mask is empty, else 0.
    """

    def __init__(self, sequence: VosSequence) -> None:
        self._prompted = sequence.first_frames
        self._last = sequence.truth.indices[-1]
        self._j: dict[str, list[float]] = {name: [] for name in self._prompted}
        self._f: dict[str, list[float]] = {name: [] for name in self._prompted}
        self._absent: dict[str, list[bool]] = {name: [] for name in self._prompted}  # called so, where it is

    def add(self, index: int, masks: Mapping[str, np.ndarray], truth: FrameTruth) -> None:
        """The answer for an annotated frame, ``[H, W]`` bool by object; an object without a mask = called absent."""
        if index == self._last:
            return
        counts_hw = None if truth.void_hw is None else ~truth.void_hw
        for name, prompted in self._prompted.items():
            if index <= prompted:
                continue
            known = truth.mask(name)
            answer = masks.get(name, np.zeros_like(known))
            if counts_hw is not None:
                known, answer = known & counts_hw, answer & counts_hw
            self._j[name].append(region_j(answer, known))
            self._f[name].append(boundary_f(answer, known))
            if not known.any():
                self._absent[name].append(not answer.any())

    def objects(self) -> list[ObjectJF]:
        """Objects with at least one frame that counts, in the order they appear."""
        return [
            ObjectJF(
                name,
                float(np.mean(j)),
                float(np.mean(self._f[name])),
                len(j),
                len(self._absent[name]),
                sum(self._absent[name]),
            )
            for name, j in self._j.items()
            if j
        ]


def percent(objects: Sequence[ObjectJF]) -> dict[str, float | None]:
    """`{"J", "F", "JF"}` in percent: the mean over objects, each of the same weight; None without an object."""
    return {
        "J": _mean_percent(one.j for one in objects),
        "F": _mean_percent(one.f for one in objects),
        "JF": _mean_percent(one.jf for one in objects),
    }


def absent_percent(objects: Sequence[ObjectJF]) -> float | None:
    """Of the frames that do not show an object, those with an empty answer, in percent; None where all show."""
    hidden = sum(one.hidden for one in objects)
    return round(100 * sum(one.called_absent for one in objects) / hidden, 2) if hidden else None


def objects_percent(objects: Sequence[ObjectJF]) -> dict[str, dict[str, Any]]:
    """The same for each object, and how many frames counted."""
    return {
        one.name: {**percent([one]), "absent": absent_percent([one]), "frames": one.frames} for one in objects
    }


def disjoint(masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``[H, W]`` bool masks of which no two share a pixel: the smaller has it, as in label images of the tracker."""
    taken: np.ndarray | None = None
    parted = {}
    for name, mask in sorted(masks.items(), key=lambda item: int(item[1].sum())):
        parted[name] = mask if taken is None else mask & ~taken
        taken = mask if taken is None else taken | mask
    return {name: parted[name] for name in masks}


def _mean_percent(shares: Iterable[float]) -> float | None:
    values = list(shares)
    return round(100 * float(np.mean(values)), 2) if values else None
