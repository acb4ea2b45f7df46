"""Losses on masks whose cost is known."""

from __future__ import annotations

import pytest
import torch

from sam2_ros.train.nano.losses import dice_loss, frame_loss, mask_iou, weighted_cross_entropy


@pytest.fixture
def target():
    target = torch.zeros(2, 16, 16)
    target[0, 4:12, 4:8] = 1
    target[1, :2, :2] = 1
    return target


def test_the_true_mask_costs_nothing_and_the_opposite_much(target):
    sure = (target * 2 - 1) * 20
    for loss in (dice_loss, lambda a, b: weighted_cross_entropy(a, b, 1.0)):
        assert loss(sure, target).max() < 1e-3
        assert loss(-sure, target).min() > 0.9


def test_balance_one_gives_object_and_background_the_same_weight(target):
    """All empty and all full are equally wrong when balanced; otherwise the small object hardly counts."""
    empty, full = torch.full_like(target, -4.0), torch.full_like(target, 4.0)
    torch.testing.assert_close(
        weighted_cross_entropy(empty, target, 1.0),
        weighted_cross_entropy(full, target, 1.0),
        rtol=1e-4,
        atol=1e-4,
    )
    assert (
        weighted_cross_entropy(empty, target, 0.0) < 0.3 * weighted_cross_entropy(full, target, 0.0)
    ).all()


def test_iou_of_known_masks(target):
    half = target.clone()
    half[0, 8:] = 0
    assert mask_iou(half * 2 - 1, target).tolist() == [0.5, 1.0]
    assert mask_iou(torch.full((1, 4, 4), -1.0), torch.zeros(1, 4, 4)).tolist() == [1.0]


def test_only_the_leading_candidate_matters_much_and_an_absent_object_only_for_its_presence(target):
    sure = (target * 2 - 1) * 20
    candidates = torch.stack([-sure, -sure, sure, -sure], dim=1)
    iou = torch.tensor([0.0, 0.0, 1.0, 0.0]).expand(2, 4)
    presence, visible = torch.full((2,), 9.0), torch.ones(2, dtype=torch.bool)
    best = frame_loss(candidates, iou, presence, target, visible, True, 1.0)
    single = frame_loss(candidates, iou, presence, target, visible, False, 1.0)
    assert best < 0.5 * single
    absent = frame_loss(candidates, iou, -presence, torch.zeros_like(target), ~visible, True, 1.0)
    assert absent < 1e-3
    assert frame_loss(candidates, iou, presence, torch.zeros_like(target), ~visible, True, 1.0) > 5
