# SPDX-License-Identifier: Apache-2.0
"""The loss on single frames: clicks on errors, and training that reduces the loss."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from sam2_ros.engine import config_for
from sam2_ros.engine.model.prompt_encoder import NEGATIVE, POSITIVE
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.train.data.batch import CELL_PX
from sam2_ros.train.losses import LossConfig
from sam2_ros.train.nano.clips import rendered_batch
from sam2_ros.train.nano.initial_values import initialise
from sam2_ros.train.nano.stills import stills_loss
from sam2_ros.train.prompts import corrective_clicks
from sam2_ros.train.rollout import encode_frames

click_errors = partial(corrective_clicks, inner=True, cell_px=CELL_PX)
NANO = LossConfig("balanced", full_size=False, every_candidate=0.25)


def test_clicks_are_positive_on_missing_and_negative_on_extra_pixels():
    true = np.zeros((3, 20, 30), bool)
    true[:, 5:15, 5:15] = True
    answer = true.copy()
    answer[0, 5:15, 10:15] = False  # the right half was missed
    answer[1, 5:15, 20:28] = True  # pixels beside it were added
    for seed in range(20):
        points, labels = click_errors(np.random.default_rng(seed), answer, true)
        assert labels[:, 0].tolist() == [POSITIVE, NEGATIVE, POSITIVE]
        cells = (points[:, 0] // CELL_PX).int().tolist()
        for (x, y), wrong in zip(cells, (true[0] & ~answer[0], answer[1] & ~true[1], true[2]), strict=True):
            assert wrong[y, x]


def test_clicks_prefer_the_middle_of_an_error():
    true = np.ones((1, 40, 40), bool)
    clicks = [click_errors(np.random.default_rng(seed), ~true, true)[0][0, 0] for seed in range(200)]
    off = torch.stack(clicks).sub(CELL_PX * 20).abs().amax(dim=1) / (CELL_PX * 20)
    assert off.mean() < 0.55  # 0.67 for uniformly random clicks
    assert off.max() > 0.8


def test_a_hidden_object_gets_a_negative_click():
    nothing = np.zeros((1, 8, 8), bool)
    _, labels = click_errors(np.random.default_rng(0), nothing, nothing)
    assert labels.tolist() == [[NEGATIVE]]


@pytest.mark.parametrize("most", [1, 4])
def test_steps_on_prompted_stills_lower_their_loss(most):
    pytest.importorskip("skimage", reason="training clips use the pictures that come with scikit-image")
    batch = rendered_batch(77, clips=1, size=128, objects=2, frames=2)
    torch.manual_seed(0)
    model = initialise(Sam2Model(config_for("nano").at_image_size(128)))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4)
    losses = []
    for _ in range(10):
        loss = stills_loss(
            model, encode_frames(model, batch.images_bt3hw), batch, most, np.random.default_rng(3), NANO
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses
