# SPDX-License-Identifier: Apache-2.0
"""The paired bootstrap compared with results by hand, by enumeration and by scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from sam2_ros.eval.compare.paired_bootstrap import LEAST_UNITS, paired_difference


def unclustered(values):
    return paired_difference(values, [str(number) for number in range(len(values))])


def test_the_same_scores_differ_by_nothing():
    for count in (1, 2, 12):
        found = unclustered([0.0] * count)
        assert (found.mean, *found.interval) == (0.0, 0.0, 0.0)


def test_a_constant_shift_is_certain():
    found = unclustered([-1.7] * 9)
    assert (found.mean, *found.interval) == pytest.approx((-1.7, -1.7, -1.7))
    assert found.trusted is not None


def test_one_pair_has_no_interval():
    found = unclustered([3.0])
    assert (found.mean, found.interval, found.trusted) == (3.0, None, None)


def test_few_units_have_no_trusted_interval():
    assert unclustered([1.0] * (LEAST_UNITS - 1)).trusted is None
    assert unclustered([1.0] * LEAST_UNITS).trusted is not None


def test_two_pairs_have_three_means():
    found = unclustered(
        [0.0, 3.0]
    )  # 0, 1.5 and 3 with 1/4, 1/2 and 1/4: 2.5 % lie within the first, 97.5 % in the last
    assert (found.mean, *found.interval) == (1.5, 0.0, 3.0)


def test_four_pairs_against_all_256_resamples():
    values = [-1.0, 0.5, 2.0, 7.0]
    every = [np.mean(drawn) for drawn in itertools.product(values, repeat=4)]
    found = unclustered(values)
    assert found.interval == pytest.approx(np.percentile(every, (2.5, 97.5), method="inverted_cdf"), abs=0.26)


def test_against_scipy():
    values = np.random.default_rng(3).normal(1.0, 2.0, 15)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", random_state=1
    ).confidence_interval
    found = unclustered(list(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.interval == pytest.approx((theirs.low, theirs.high), abs=0.06)


def test_objects_of_one_sequence_are_drawn_together():
    # Two sequences; the pairs of each are equal. Drawn singly, the ten pairs would give a narrow interval.
    values, clusters = [0.0] * 5 + [2.0] * 5, ["a"] * 5 + ["b"] * 5
    found = paired_difference(values, clusters)
    assert (found.clustered, found.units, found.pairs) == (True, 2, 10)
    assert (found.mean, *found.interval) == (1.0, 0.0, 2.0)
    alone = unclustered(values)
    assert not alone.clustered
    assert alone.interval[1] - alone.interval[0] < 1.5


def test_clusters_of_different_sizes_against_all_27_resamples():
    by_cluster = {"a": [1.0], "b": [2.0, 4.0], "c": [-3.0, 0.0, 6.0]}
    values = [value for some in by_cluster.values() for value in some]
    clusters = [name for name, some in by_cluster.items() for _ in some]
    every = [
        np.mean([value for name in drawn for value in by_cluster[name]])
        for drawn in itertools.product(by_cluster, repeat=3)
    ]
    found = paired_difference(values, clusters)
    assert found.mean == pytest.approx(10 / 6)
    assert found.interval == pytest.approx(np.percentile(every, (2.5, 97.5), method="inverted_cdf"))


def test_a_single_sequence_leaves_its_objects_to_draw():
    found = paired_difference([1.0, 2.0, 3.0], ["a", "a", "a"])
    assert (found.clustered, found.units) == (False, 3)


def test_the_seed_decides():
    values, names = list(np.random.default_rng(0).normal(size=20)), [str(n) for n in range(20)]
    assert paired_difference(values, names) == paired_difference(values, names)
    assert paired_difference(values, names, seed=1) != paired_difference(values, names)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="2 differences of 1 clusters"):
        paired_difference([1.0, 2.0], ["a"])
