# SPDX-License-Identifier: Apache-2.0
"""Choice of one of the decoder's four candidates, and the output for an absent object.

Uses candidates made by hand; the decoder itself is compared in test/parity.
"""

from __future__ import annotations

import pytest
import torch

from sam2_ros.engine.model.mask_decoder import DecodedMasks, choose_mask, mask_stability, upsample_logits


def candidates(iou: list[float], edge_logit: float = 5.0) -> DecodedMasks:
    """Candidate i is filled with i + 1; candidate 0 has one row in ten at `edge_logit`."""
    logits = torch.arange(1.0, 5.0).view(1, 4, 1, 1).expand(1, 4, 10, 10).clone()
    logits[0, 0, 0] = edge_logit
    tokens = torch.arange(4.0).view(1, 4, 1).expand(1, 4, 8)
    return DecodedMasks(logits, torch.tensor([iou]), tokens, torch.tensor([3.0]))


def test_multimask_takes_the_best_of_the_last_three() -> None:
    chosen = choose_mask(candidates([0.99, 0.2, 0.7, 0.5]), multimask=True, stability_fallback=True)
    assert chosen.logits_b1hw.unique().tolist() == [3.0]
    assert chosen.iou_b.item() == pytest.approx(0.7)
    assert chosen.token_bc.unique().tolist() == [2.0]


def test_single_mask_takes_the_first_when_it_is_stable() -> None:
    chosen = choose_mask(candidates([0.1, 0.2, 0.7, 0.5]), multimask=False, stability_fallback=True)
    assert chosen.logits_b1hw.unique().tolist() == [1.0, 5.0]
    assert chosen.iou_b.item() == pytest.approx(0.1)


def test_an_unstable_single_mask_is_swapped_but_its_token_stays() -> None:
    unstable = candidates([0.1, 0.2, 0.7, 0.5], edge_logit=0.01)
    assert mask_stability(unstable.logits_b4hw[:, 0]).item() == pytest.approx(0.9)
    chosen = choose_mask(unstable, multimask=False, stability_fallback=True)
    assert chosen.logits_b1hw.unique().tolist() == [3.0]
    assert chosen.iou_b.item() == pytest.approx(0.7)
    assert chosen.token_bc.unique().tolist() == [0.0]
    kept = choose_mask(unstable, multimask=False, stability_fallback=False)
    assert kept.iou_b.item() == pytest.approx(0.1)


def test_each_object_chooses_for_itself() -> None:
    one, two = candidates([0.1, 0.2, 0.7, 0.5]), candidates([0.1, 0.8, 0.7, 0.5], edge_logit=0.01)
    both = DecodedMasks(*(torch.cat(pair) for pair in zip(one, two, strict=True)))
    multi = choose_mask(both, multimask=True, stability_fallback=True)
    assert [logits.unique().tolist() for logits in multi.logits_b1hw] == [[3.0], [2.0]]
    single = choose_mask(both, multimask=False, stability_fallback=True)
    assert [logits.unique().tolist() for logits in single.logits_b1hw] == [[1.0, 5.0], [2.0]]


def test_an_empty_mask_counts_as_stable() -> None:
    assert mask_stability(torch.full((1, 4, 4), -9.0)).item() == 1.0


def test_up_sampling_is_done_in_float32() -> None:
    logits = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    up = upsample_logits(logits, (32, 32))
    assert up.dtype == torch.float32
    torch.testing.assert_close(up, upsample_logits(logits.float(), (32, 32)))
