# SPDX-License-Identifier: Apache-2.0
"""Losses of masks with known values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam2_ros.engine.model.mask_decoder import DecodedMasks
from sam2_ros.train.losses import (
    FOCAL_WEIGHT,
    LossConfig,
    answer_loss,
    dice_loss,
    focal_loss,
    logits_iou,
    weighted_cross_entropy,
)

NANO = LossConfig("balanced", 1.0, full_size=False, every_candidate=0.25)


@pytest.fixture
def target():
    target = torch.zeros(2, 16, 16)
    target[0, 4:12, 4:8] = 1
    target[1, :2, :2] = 1
    return target


def test_the_loss_of_the_true_mask_is_near_zero_and_of_the_opposite_large(target):
    sure = (target * 2 - 1) * 20
    for loss in (dice_loss, lambda a, b: weighted_cross_entropy(a, b, 1.0)):
        assert loss(sure, target).max() < 1e-3
        assert loss(-sure, target).min() > 0.9


def test_balance_one_gives_object_and_background_the_same_weight(target):
    """Balanced, an empty and a full mask have equal loss; unbalanced, the small object hardly counts."""
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
    assert logits_iou(half * 2 - 1, target).tolist() == [0.5, 1.0]
    assert logits_iou(torch.full((1, 4, 4), -1.0), torch.zeros(1, 4, 4)).tolist() == [1.0]


def test_mostly_the_best_candidate_counts_and_of_an_absent_object_only_its_presence(target):
    sure = (target * 2 - 1) * 20
    candidates = torch.stack([-sure, -sure, sure, -sure], dim=1)
    iou = torch.tensor([0.0, 0.0, 1.0, 0.0]).expand(2, 4)
    presence, visible = torch.full((2,), 9.0), torch.ones(2, dtype=torch.bool)

    def loss(presence, target, visible, multimask=True):
        decoded = DecodedMasks(candidates, iou, torch.zeros(2, 4, 8), presence)
        return answer_loss(decoded, target, visible, multimask, NANO).sum() / 2

    best, single = loss(presence, target, visible), loss(presence, target, visible, multimask=False)
    assert best < 0.5 * single
    assert loss(-presence, torch.zeros_like(target), ~visible) < 1e-3
    assert loss(presence, torch.zeros_like(target), ~visible) > 5


def test_focal_loss_of_a_known_pixel():
    """p = 0.5 at an object's pixel: alpha (1 - p)^2 ln 2."""
    loss = focal_loss(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    assert loss.item() == pytest.approx(0.25 * 0.25 * np.log(2))
    assert focal_loss(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)).item() == pytest.approx(
        0.75 * 0.25 * np.log(2)
    )


def test_an_absent_object_adds_only_its_presence_term_and_only_the_best_of_three_is_trained():
    target = torch.zeros(2, 16, 16, dtype=torch.bool)
    target[0, 4:12, 4:12] = True
    sure = (torch.nn.functional.avg_pool2d(target[:1].float()[None], 4)[0, 0] > 0.5).float() * 40 - 20
    logits = torch.stack([-sure, -sure, sure, -sure]).expand(2, -1, -1, -1).clone().requires_grad_()
    decoded = DecodedMasks(logits, torch.full((2, 4), 0.5), torch.zeros(2, 4, 8), torch.tensor([9.0, 9.0]))
    visible = torch.tensor([True, False])
    terms = answer_loss(decoded, target, visible, True, LossConfig())
    terms[:2].sum().backward()
    assert logits.grad[1].abs().max() == 0
    assert {k for k in range(4) if logits.grad[0, k].abs().max() > 0} <= {2}
    assert terms[3].item() == pytest.approx(9.0, abs=0.01)
    single = answer_loss(decoded, target, visible, False, LossConfig())
    assert single[0] > 100 * terms[0]
    assert single[0] < FOCAL_WEIGHT * 20
