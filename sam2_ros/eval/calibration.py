# SPDX-License-Identifier: Apache-2.0
"""Calibration of presence scores: reliability curve and expected calibration error.

Knows scores and ground truth; does not know where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from .metrics import mean, rounded

BINS = 10


def calibration(presence: Sequence[float], visible: Sequence[bool], counted: str) -> dict[str, Any]:
    """Compares `sigmoid(presence)` with the share of frames that show the object, in ten bins of equal width.

    `ece`, the expected calibration error, is the mean distance between score and truth over the bins, weighted by their
    frames (Guo et al. 2017, eq. 3). All values 0..1; None for the means of an empty bin, and for the error without any
    frame.

    Args:
        presence: logits; NaN = the result does not contain the object, and the frame is not counted.
        counted: key of the number of frames, in each bin and in total.
    """
    logits = np.asarray(presence, dtype=float)
    known = ~np.isnan(logits)
    score, shown = expit(logits[known]), np.asarray(visible, dtype=bool)[known]
    bin_of = np.minimum((score * BINS).astype(int), BINS - 1)
    bins, distance = [], 0.0
    for number in range(BINS):
        inside = bin_of == number
        said, true = mean(score[inside]), mean(shown[inside])
        if said is not None and true is not None:
            distance += inside.sum() / len(score) * abs(said - true)
        bins.append(
            {
                "from": number / BINS,
                "to": (number + 1) / BINS,
                counted: int(inside.sum()),
                "presence": rounded(said),
                "visible": rounded(true),
            }
        )
    return {"ece": rounded(distance) if len(score) else None, counted: len(score), "bins": bins}
