# SPDX-License-Identifier: Apache-2.0
"""Mean difference of two runs over the same objects, with its confidence interval: a paired bootstrap.

Numbers in, numbers out; does not know what was measured, nor whether higher is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
LEAST_UNITS = 6
"""Fewer units prove nothing: all of them favour one side by chance more often than once in twenty (2 * 0.5**5)."""
_AT_ONCE = 500  # resamples drawn together: bounds the memory of a large data set


@dataclass(frozen=True)
class PairedDifference:
    """The mean of B - A over pairs, with its bootstrap interval.

    Attributes:
        mean: over all pairs, with equal weights.
        interval: bounds of the mean at `LEVEL`; None with a single unit, which cannot be resampled.
        pairs: number of differences.
        units: number of units that were drawn with replacement.
        clustered: True if the units are groups of pairs (sequences), False if they are the pairs themselves.
    """

    mean: float
    interval: tuple[float, float] | None
    pairs: int
    units: int
    clustered: bool

    @property
    def trusted(self) -> tuple[float, float] | None:
        """The interval, if there are enough units for it; see `LEAST_UNITS`."""
        return self.interval if self.units >= LEAST_UNITS else None


def paired_difference(
    differences: Sequence[float], clusters: Sequence[str], seed: int = 0
) -> PairedDifference:
    """Mean and percentile bootstrap interval of differences B - A (Efron 1979), repeatable for a seed.

    Pairs of one cluster (objects of one sequence) are correlated. If a cluster has several pairs, whole clusters are
    drawn (Davison and Hinkley 1997, 3.8), and the mean is over all pairs in the drawn clusters. With a single cluster,
    its pairs are drawn.
    """
    if len(differences) != len(clusters) or not differences:
        raise ValueError(
            f"{len(differences)} differences of {len(clusters)} clusters: as many of each expected, at least 1"
        )
    values = np.asarray(differences, dtype=np.float64)
    names = sorted(set(clusters))
    clustered = 1 < len(names) < len(values)
    sums: np.ndarray = values
    counts: np.ndarray = np.ones(len(values))
    if clustered:
        place = {name: number for number, name in enumerate(names)}
        unit_of = np.array([place[name] for name in clusters])
        sums, counts = np.bincount(unit_of, values), np.bincount(unit_of)
    mean, units = float(values.mean()), len(sums)
    if not values.any():
        return PairedDifference(0.0, (0.0, 0.0), len(values), units, clustered)
    if units == 1:
        return PairedDifference(mean, None, len(values), units, clustered)
    rng = np.random.default_rng(seed)
    means = []
    for first in range(0, RESAMPLES, _AT_ONCE):
        drawn = rng.integers(0, units, (min(_AT_ONCE, RESAMPLES - first), units))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(np.concatenate(means), (tail, 100 - tail))
    return PairedDifference(mean, (float(low), float(high)), len(values), units, clustered)
