# SPDX-License-Identifier: Apache-2.0
"""Velocities of objects that move, start, jump and disappear."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2_ros.node.spatial.velocity import UNKNOWN, VelocityEstimator

WAY = np.array([0.3, -0.1, 0.5])  # m/s


def run(velocities: VelocityEstimator, stamps_s, way=WAY, label: int = 1):
    for stamp_s in stamps_s:
        answer = velocities.update(label, float(stamp_s), tuple(way * stamp_s))
    return answer


@given(st.floats(0, 2e9), st.floats(5, 60))
def test_a_steady_motion_is_found_at_any_epoch_and_rate(epoch_s, rate_hz):
    velocities = VelocityEstimator()
    for index in range(int(rate_hz) + 3):
        time_s = index / rate_hz
        answer = velocities.update(1, epoch_s + time_s, tuple(WAY * time_s))
    assert answer == pytest.approx(tuple(WAY), abs=1e-4)


def test_noise_is_averaged():
    rng = np.random.default_rng(0)
    velocities = VelocityEstimator()
    for index in range(30):
        noise = 0.003 * rng.standard_normal(3)
        answer = velocities.update(1, index / 30, tuple(WAY * index / 30 + noise))
    assert answer == pytest.approx(tuple(WAY), abs=0.02)  # two neighbouring positions alone: 0.13


def test_it_is_zero_before_three_positions_over_a_tenth_of_a_second():
    assert run(VelocityEstimator(), [0.0, 0.2]) == UNKNOWN
    assert run(VelocityEstimator(), [0.0, 0.03, 0.06, 0.09]) == UNKNOWN
    assert run(VelocityEstimator(), [0.0, 0.05, 0.11]) == pytest.approx(tuple(WAY))


def test_only_the_last_half_second_counts():
    velocities = VelocityEstimator()
    run(velocities, np.arange(0, 1, 0.1))
    for stamp_s in np.arange(1.0, 1.75, 0.1):
        answer = velocities.update(1, float(stamp_s), (7.0, 7.0, 7.0))
    assert answer == pytest.approx(UNKNOWN, abs=1e-9)


@pytest.mark.parametrize("next_s", [0.3, 0.0, 0.81, 50.0], ids=["same", "back", "gap", "long gap"])
def test_a_gap_or_time_running_back_starts_anew(next_s):
    velocities = VelocityEstimator()
    assert run(velocities, [0.0, 0.1, 0.2, 0.3]) != UNKNOWN
    stamps_s = [next_s, next_s + 0.1]
    assert run(velocities, stamps_s, way=-WAY) == UNKNOWN
    assert run(velocities, [next_s + 0.2], way=-WAY) == pytest.approx(tuple(-WAY))


def test_objects_do_not_share_and_do_not_leave_anything_behind():
    velocities = VelocityEstimator()
    run(velocities, [0.0, 0.1, 0.2], label=1)
    assert run(velocities, [0.0, 0.1, 0.2], way=-WAY, label=2) == pytest.approx(tuple(-WAY))
    velocities.keep({2})
    assert run(velocities, [0.3], label=1) == UNKNOWN
    assert run(velocities, [0.3], way=-WAY, label=2) == pytest.approx(tuple(-WAY))
    velocities.clear()
    assert run(velocities, [0.4], label=2) == UNKNOWN


def test_far_from_the_origin_of_a_map_and_in_seconds_since_1970_nothing_is_lost_to_rounding():
    utm = np.array([500_000.0, 4_500_000.0, 120.0])
    for begin_s in 1.8e9 + np.linspace(0, 1, 20):
        velocities = VelocityEstimator()
        for step in range(7):
            position = utm + WAY * 0.033 * step
            answer = velocities.update(1, begin_s + 0.033 * step, tuple(position))
        assert answer == pytest.approx(tuple(WAY), abs=1e-3)
