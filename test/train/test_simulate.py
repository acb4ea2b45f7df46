"""Simulated prompts lie where a user would put them, and absences where objects hide."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam2_ros.engine.prompt_encoder import BOX_MAX, BOX_MIN, POSITIVE
from sam2_ros.train.simulate import LONGEST_ABSENCE, draw_absence, simulate_boxes, simulate_clicks


@pytest.fixture
def masks():
    masks = np.zeros((3, 128, 128), bool)
    masks[0, 40:80, 20:100] = True
    masks[1, :10, :10] = True
    masks[2, 127, 127] = True
    return masks


def test_boxes_are_tight_up_to_a_tenth_of_their_side(masks):
    for seed in range(20):
        points, labels = simulate_boxes(np.random.default_rng(seed), masks)
        assert labels.tolist() == [[BOX_MIN, BOX_MAX]] * 3
        off = (points[0] - points.new_tensor([[20, 40], [100, 80]])).abs()
        assert (off[:, 0] <= 8).all()
        assert (off[:, 1] <= 4).all()
        assert points.min() >= 0
        assert points.max() <= 128


def test_clicks_are_on_the_object(masks):
    points, labels = simulate_clicks(np.random.default_rng(0), masks)
    assert labels.tolist() == [[POSITIVE]] * 3
    for mask, (x, y) in zip(masks, points[:, 0].int().tolist(), strict=True):
        assert mask[y, x]


def test_an_absence_falls_on_the_frame_that_hides_most():
    visible = torch.ones(5, 6, dtype=torch.bool)
    visible[3, 2:] = False
    visible[2, 2] = False
    drawn = [draw_absence(np.random.default_rng(seed), visible) for seed in range(40)]
    absences = [a for a in drawn if a is not None]
    assert 30 < len(absences) < 40
    assert {a.frame for a in absences} == {3}
    assert all(2 <= a.times <= LONGEST_ABSENCE for a in absences)
    assert max(a.times for a in absences) > 30
    assert 0.2 < torch.stack([a.lost_m for a in absences]).float().mean() < 0.5


def test_no_absence_fits_into_two_frames():
    visible = torch.ones(2, 6, dtype=torch.bool)
    assert all(draw_absence(np.random.default_rng(seed), visible) is None for seed in range(20))
