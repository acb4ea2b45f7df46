# SPDX-License-Identifier: Apache-2.0
"""Simulated prompts, occlusions and wrong masks in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam2_ros.engine.model.prompt_encoder import BOX_MAX, BOX_MIN, POSITIVE
from sam2_ros.train.data.batch import ClipBatch
from sam2_ros.train.nano.simulate import (
    CORRUPTED_SHARE,
    LONGEST_OCCLUSION,
    LongOcclusion,
    MaskCorruption,
    SimulatedMemory,
    draw_corruption,
    draw_occlusion,
)
from sam2_ros.train.prompts import simulate_boxes, simulate_clicks


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


def test_a_long_occlusion_falls_on_the_frame_that_hides_most():
    visible = torch.ones(5, 6, dtype=torch.bool)
    visible[3, 2:] = False
    visible[2, 2] = False
    drawn = [draw_occlusion(np.random.default_rng(seed), visible) for seed in range(40)]
    occlusions = [a for a in drawn if a is not None]
    assert 30 < len(occlusions) < 40
    assert {a.frame for a in occlusions} == {3}
    assert all(2 <= a.times <= LONGEST_OCCLUSION for a in occlusions)
    assert max(a.times for a in occlusions) > 30
    assert 0.2 < torch.stack([a.lost_m for a in occlusions]).float().mean() < 0.5


def test_no_occlusion_fits_into_two_frames():
    visible = torch.ones(2, 6, dtype=torch.bool)
    assert all(draw_occlusion(np.random.default_rng(seed), visible) is None for seed in range(20))


def test_a_corruption_merges_an_object_with_another_or_cuts_it_through_the_middle():
    logits = torch.full((3, 1, 16, 16), -5.0)
    for place in range(3):
        logits[place, 0, 5 * place : 5 * place + 4, 2:6] = 5.0
    corruption = MaskCorruption(
        2,
        merged_m=torch.tensor([True, False, False]),
        other_m=torch.tensor([2, 0, 1]),
        cut_m=torch.tensor([False, True, False]),
        side_m2=torch.tensor([[1.0, 0.0]]).expand(3, -1),
    )
    assert torch.equal(corruption.remembered(1, logits), logits)
    merged, cut, untouched = corruption.remembered(2, logits)[:, 0] > 0
    assert torch.equal(merged, (logits[0, 0] > 0) | (logits[2, 0] > 0))
    assert torch.equal(cut, (logits[1, 0] > 0) & (torch.arange(16) < 4))
    assert torch.equal(untouched, logits[2, 0] > 0)


def test_corruptions_are_drawn_for_their_share_and_merge_objects_of_one_clip():
    corruptions = [draw_corruption(np.random.default_rng(seed), 8, clips=4, objects=3) for seed in range(100)]
    spoilt = torch.cat([corruption.merged_m | corruption.cut_m for corruption in corruptions]).float().mean()
    assert abs(spoilt.item() - CORRUPTED_SHARE) < 0.05
    for corruption in corruptions:
        assert 1 <= corruption.first_frame < 7
        assert not (corruption.merged_m & corruption.cut_m).any()
        itself = torch.arange(12)
        assert torch.equal(corruption.other_m // 3, itself // 3)
        assert (corruption.other_m != itself).all()


@pytest.mark.parametrize(("frames", "objects"), [(1, 3), (2, 3), (8, 1)])
def test_few_frames_or_objects_give_no_corruption(frames, objects):
    assert draw_corruption(np.random.default_rng(0), frames, 2, objects) is None


def test_a_long_occlusion_is_stored_at_many_points_in_time_and_shifts_later_frames():
    batch = ClipBatch(None, torch.zeros(4, 2, 8, 8, dtype=torch.bool), torch.zeros(2, dtype=torch.long))
    nobody = torch.zeros(2, dtype=torch.bool)
    memory = SimulatedMemory(batch, nobody, occlusion=LongOcclusion(1, 5, nobody))
    assert [memory.times(t) for t in range(4)] == [range(1), range(1, 6), range(6, 7), range(7, 8)]
    assert [SimulatedMemory(batch, nobody).times(t) for t in range(2)] == [range(1), range(1, 2)]
