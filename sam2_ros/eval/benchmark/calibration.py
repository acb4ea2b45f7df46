"""Calibration of the presence score: reliability curve and expected calibration error.

Knows scores and truth; does not know where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .scores import ObjectScores

BINS = 10


def presence_calibration(objects: Sequence[ObjectScores]) -> dict[str, Any] | None:
    """The reliability curve of `sigmoid(presence)` over all frames that count; None where every object always shows.

    Ten bins of the same width; `ece`, the expected calibration error, is the mean distance between score and truth of a
    bin, weighted by its frames (Guo et al. 2017). All 0..1; a bin without a frame has no means.
    """
    frames = [frame for one in objects for frame in one.curve if frame.presence is not None]
    visible = np.array([frame.visible for frame in frames], bool)
    if visible.all():
        return None
    logits = np.array([frame.presence for frame in frames], np.float64)
    score = np.exp(-np.logaddexp(0.0, -logits))  # the sigmoid, without overflow
    bin_of = np.minimum((score * BINS).astype(int), BINS - 1)
    bins, distance = [], 0.0
    for number in range(BINS):
        inside = bin_of == number
        one: dict[str, Any] = {"from": number / BINS, "to": (number + 1) / BINS, "frames": int(inside.sum())}
        one |= {"presence": None, "visible": None}
        if inside.any():
            said, true = float(score[inside].mean()), float(visible[inside].mean())
            distance += inside.sum() / len(frames) * abs(said - true)
            one |= {"presence": round(said, 4), "visible": round(true, 4)}
        bins.append(one)
    return {
        "ece": round(float(distance), 4),
        "frames": len(frames),
        "hidden": int((~visible).sum()),
        "bins": bins,
    }
