# SPDX-License-Identifier: Apache-2.0
"""Postprocessing of low-resolution logits: holes, overlapping masks, measures."""

from __future__ import annotations

import numpy as np
import torch

from sam2_ros.engine.postprocess import FILLED_LOGIT, fill_holes, masks_at_frame, measure_mask


def test_holes_up_to_an_area_are_filled_and_larger_ones_are_not():
    logits = torch.full((2, 1, 16, 16), 5.0)
    logits[0, 0, 2, 2] = -3.0  # two cells that touch by a corner: one hole of two
    logits[0, 0, 3, 3] = -3.0
    logits[0, 0, 8:11, 8:11] = -3.0  # nine cells
    filled = fill_holes(logits, 8)
    assert filled[0, 0, 2, 2] == filled[0, 0, 3, 3] == FILLED_LOGIT
    assert (filled[0, 0, 8:11, 8:11] == -3.0).all()
    assert torch.equal(filled[1], logits[1])
    assert (fill_holes(logits, 1)[0] == logits[0]).all()
    assert (fill_holes(logits, 9)[0] > 0).all()
    assert logits[0, 0, 2, 2] == -3.0  # the input is unchanged


def test_a_pixel_that_two_objects_claim_goes_to_the_surer_one():
    logits = torch.full((2, 1, 8, 8), -5.0)
    logits[0, 0, :, :5] = 2.0
    logits[1, 0, :, 3:] = 4.0
    shared, parted = (masks_at_frame(logits, 8, 8, alone) for alone in (False, True))
    assert shared[0, :, :5].all()
    assert shared[1, :, 3:].all()
    assert parted[0, :, :3].all()
    assert not parted[0, :, 3:].any()
    np.testing.assert_array_equal(parted[1], shared[1])


def test_a_mask_is_measured_in_pixels():
    mask = np.zeros((10, 20), bool)
    mask[2:5, 4:10] = True
    assert measure_mask(mask) == ((4, 2, 10, 5), 18, (6.5, 3.0))
    assert measure_mask(np.zeros((10, 20), bool)) == ((0, 0, 0, 0), 0, (0.0, 0.0))
