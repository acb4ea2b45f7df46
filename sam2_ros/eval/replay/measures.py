# SPDX-License-Identifier: Apache-2.0
"""Measures of a track: times to lose and recover an object, identity switches, stability.

Pure functions over series with one entry per image; knows no masks, files or trackers. Times in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SWITCH_IOU = 0.1
"""Least IoU with another object's true mask that counts as an identity switch; less is only a touch."""


def times_to_lost(
    truth_s: Sequence[float], visible: Sequence[bool], answer_s: Sequence[float], tracking: Sequence[bool]
) -> list[float | None]:
    """For each interval in which the object is hidden: the time from its first image to an answer not TRACKING.

    Args:
        truth_s, visible: stamps and visibility of all images with ground truth.
        answer_s, tracking: stamps and states of the images with an answer; the stamps are among `truth_s`.

    Returns:
        One entry per interval, in order; None = no such answer before the object came back or the bag ended.

    >>> times_to_lost([0, 1, 2, 3], [True, False, False, True], [0, 1, 2, 3], [True, True, False, True])
    [1]
    """
    said = np.logical_not(np.asarray(tracking, dtype=bool))
    return [_first_within(answer_s, said, span) for span in _spans(truth_s, visible, False)]


def times_to_recover(
    truth_s: Sequence[float], visible: Sequence[bool], answer_s: Sequence[float], found: Sequence[bool]
) -> list[float | None]:
    """For each visible interval after a hidden one: the time from its first image to an answer that `found` it.

    Arguments and result as in `times_to_lost`; `found`: in state TRACKING, on the right pixels.
    """
    spans = _spans(truth_s, visible, True)
    if len(visible) and visible[0]:
        spans = spans[1:]  # the prompted interval is not a re-appearance
    return [_first_within(answer_s, np.asarray(found, dtype=bool), span) for span in spans]


def share(flags: Sequence[bool], among: Sequence[bool]) -> float | None:
    """Share of true `flags` where `among` is true; None if `among` is never true."""
    chosen = np.asarray(flags, dtype=bool)[np.asarray(among, dtype=bool)]
    return float(chosen.mean()) if chosen.size else None


def matched_object(own: str, overlaps: dict[str, float]) -> str | None:
    """The object whose true mask overlaps an answer most, with an IoU of at least `SWITCH_IOU`; None = no object.

    In a tie `own` wins.
    """
    best = max(overlaps, key=lambda name: (overlaps[name], name == own), default=None)
    return best if best is not None and overlaps[best] >= SWITCH_IOU else None


def identity_switches(own: str, matches: Sequence[str | None]) -> int:
    """Number of times that the answer moves to another object. A return to its own object does not count.

    Images in which the answer lies on no object are ignored.

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
    """Mean IoU of successive answers, and of the true masks of the same images.

    `difference` = answers - truth: below 0 the outline flickers, above 0 it moves less than the object, or lags.
    """

    answers: float | None
    truth: float | None
    pairs: int

    @property
    def difference(self) -> float | None:
        return None if self.answers is None or self.truth is None else self.answers - self.truth


def stability(answer_iou: Sequence[float], truth_iou: Sequence[float]) -> Stability:
    """Stability over pairs of successive images with the object visible; NaN = the pair is not counted."""
    answers, truths = np.asarray(answer_iou, dtype=float), np.asarray(truth_iou, dtype=float)
    counts = ~(np.isnan(answers) | np.isnan(truths))
    if not counts.any():
        return Stability(None, None, 0)
    return Stability(float(answers[counts].mean()), float(truths[counts].mean()), int(counts.sum()))


def longest_gap_s(stamps_s: Sequence[float], processed: Sequence[bool]) -> float:
    """Longest time between two processed images; the first and the last image of the bag count as processed."""
    answered = [stamp for stamp, done in zip(stamps_s, processed, strict=True) if done]
    marks = [stamps_s[0], *answered, stamps_s[-1]]
    return max(later - earlier for earlier, later in pairwise(marks))


def stretches(flags: Sequence[bool], wanted: bool) -> list[tuple[int, int]]:
    """Intervals of a series in which it equals `wanted`, half-open.

    >>> stretches([True, False, False, True], False)
    [(1, 3)]
    """
    match = np.concatenate(([False], np.asarray(flags, dtype=bool) == wanted, [False]))
    edges = np.flatnonzero(match[1:] != match[:-1])
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _spans(truth_s: Sequence[float], visible: Sequence[bool], wanted: bool) -> list[tuple[float, float]]:
    """(from, until) of each interval, in seconds; `until` is the start of the next one."""
    ends = [*truth_s, math.inf]
    return [(truth_s[start], ends[end]) for start, end in stretches(visible, wanted)]


def _first_within(stamps_s: Sequence[float], flags: np.ndarray, span: tuple[float, float]) -> float | None:
    begin, end = span
    answers = zip(stamps_s, flags, strict=True)
    return next((stamp - begin for stamp, flag in answers if flag and begin <= stamp < end), None)
