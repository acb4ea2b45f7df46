# SPDX-License-Identifier: Apache-2.0
"""Measures of a track: times to lose and recover an object, identity switches, stability.

Pure functions over series with one entry per image; knows no masks, files or trackers. Times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SWITCH_IOU = 0.1
"""An answer has gone over to another object from this overlap with its truth on: a touch is no switch."""


def times_to_lost(
    truth_s: Sequence[float], visible: Sequence[bool], answer_s: Sequence[float], tracking: Sequence[bool]
) -> list[float | None]:
    """For each hidden stretch, the time from its first image until an answer that is not TRACKING.

    Args:
        truth_s, visible: of all images whose truth is known.
        answer_s, tracking: of the images that were answered; the stamps are among `truth_s`.

    Returns:
        One entry per stretch, in order; None = the object came back, or the bag ended, before it was said.

    >>> times_to_lost([0, 1, 2, 3], [True, False, False, True], [0, 1, 2, 3], [True, True, False, True])
    [1]
    """
    said = np.logical_not(np.asarray(tracking, dtype=bool))
    return [_first_within(answer_s, said, span) for span in _spans(truth_s, visible, False)]


def times_to_recover(
    truth_s: Sequence[float], visible: Sequence[bool], answer_s: Sequence[float], found: Sequence[bool]
) -> list[float | None]:
    """For each visible stretch after a hidden one, the time from its first image until an answer that `found` it.

    Arguments and result as of `times_to_lost`; `found`: TRACKING, on the right pixels.
    """
    spans = _spans(truth_s, visible, True)
    if len(visible) and visible[0]:
        spans = spans[1:]  # the prompted stretch is no re-appearance
    return [_first_within(answer_s, np.asarray(found, dtype=bool), span) for span in spans]


def share(flags: Sequence[bool], among: Sequence[bool]) -> float | None:
    """The share of `among` that have the flag; None when there is none to count."""
    chosen = np.asarray(flags, dtype=bool)[np.asarray(among, dtype=bool)]
    return float(chosen.mean()) if chosen.size else None


def matched_object(own: str, overlaps: dict[str, float]) -> str | None:
    """Whose truth an answer lies on: the object whose IoU is largest, from `SWITCH_IOU` on; None = nobody's.

    `own` keeps an answer that overlaps another one just as much.
    """
    best = max(overlaps, key=lambda name: (overlaps[name], name == own), default=None)
    return best if best is not None and overlaps[best] >= SWITCH_IOU else None


def identity_switches(own: str, matches: Sequence[str | None]) -> int:
    """How often the answer goes over to another object than before; coming back to its own is none.

    Images in which it lies on nobody change nothing.

    >>> identity_switches("a", ["a", "b", None, "b", "c", "a", "b"])
    3
    """
    switches, last = 0, own
    for found in matches:
        if found is None:
            continue
        switches += found not in (own, last)
        last = found
    return switches


@dataclass(frozen=True)
class Stability:
    """Mean IoU of successive answers, and of the truths of the same images.

    `difference` = answers - truth: below 0 the outline flickers, above 0 it is stiffer than the object, or lags.
    """

    answers: float | None
    truth: float | None
    pairs: int

    @property
    def difference(self) -> float | None:
        return None if self.answers is None or self.truth is None else self.answers - self.truth


def stability(answer_iou: Sequence[float], truth_iou: Sequence[float]) -> Stability:
    """Of pairs of successive images in which the object shows; NaN = the pair does not count."""
    answers, truths = np.asarray(answer_iou, dtype=float), np.asarray(truth_iou, dtype=float)
    counts = ~(np.isnan(answers) | np.isnan(truths))
    if not counts.any():
        return Stability(None, None, 0)
    return Stability(float(answers[counts].mean()), float(truths[counts].mean()), int(counts.sum()))


def longest_gap_s(stamps_s: Sequence[float], processed: Sequence[bool]) -> float:
    """The longest time between two processed images, from the first image on and until the last."""
    answered = [stamp for stamp, done in zip(stamps_s, processed, strict=True) if done]
    marks = [stamps_s[0], *answered, stamps_s[-1]]
    return max(later - earlier for earlier, later in pairwise(marks))


def stretches(flags: Sequence[bool], wanted: bool) -> list[tuple[int, int]]:
    """Runs of `wanted` in a series as half-open intervals.

    >>> stretches([True, False, False, True], False)
    [(1, 3)]
    """
    match = np.concatenate(([False], np.asarray(flags, dtype=bool) == wanted, [False]))
    edges = np.flatnonzero(match[1:] != match[:-1])
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _spans(truth_s: Sequence[float], visible: Sequence[bool], wanted: bool) -> list[tuple[float, float]]:
    """(from, until) in time of each stretch, `until` being when the next one begins."""
    ends = [*truth_s, math.inf]
    return [(truth_s[start], ends[end]) for start, end in stretches(visible, wanted)]


def _first_within(stamps_s: Sequence[float], flags: np.ndarray, span: tuple[float, float]) -> float | None:
    begin, end = span
    answers = zip(stamps_s, flags, strict=True)
    return next((stamp - begin for stamp, flag in answers if flag and begin <= stamp < end), None)
