# SPDX-License-Identifier: Apache-2.0
"""The dense matching memory: what `read` finds in past frames, and what its embedding adds to the mask decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matching_loops import loops
from matching_models import RIVALS, matching_model

from sam2_ros.engine import Sam2Model, config_for
from sam2_ros.engine.kernels.layers import plain_operators
from sam2_ros.engine.model.matching import (
    LOG_SCALE,
    NOTHING,
    MatchFrames,
    Matching,
    MatchingConfig,
    MatchView,
)
from sam2_ros.eval.metrics import mask_iou

SIDE, CHANNELS = 18, 16


@pytest.fixture(scope="module")
def matching() -> Matching:
    """Two blocks of queries in each direction, and windows that do not reach every cell."""
    made = Matching(MatchingConfig(CHANNELS, radius=4), (8, 8, 8), 32)
    made.log_falloff.data.fill_(-4.0)
    made.scale.data.copy_(torch.tensor([12.0, 9.0]))
    return made.eval().requires_grad_(False)


def unit(*shape: int, seed: int = 0, side: int = SIDE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, side**2, CHANNELS, generator=generator), dim=-1)


def frames(objects: int, count: int, seed: int = 1) -> MatchFrames:
    masks = torch.rand(objects, count, SIDE**2, generator=torch.Generator().manual_seed(seed))
    return MatchFrames(unit(count, seed=seed), masks, torch.ones(objects, count))


def without_frames(objects: int) -> MatchFrames:
    return frames(objects, 0)


def test_reading_equals_loops(matching: Matching) -> None:
    """Two objects; the second one is not known on one of the frames."""
    keys, view = unit(), MatchView(frames(2, 2, seed=1), frames(2, 1, seed=2))
    view.prompted.valid_bf[1, 0] = 0
    found = matching.read(keys, view)
    assert found.shape == (2, 6, SIDE, SIDE)
    falloff = float(matching.log_falloff.exp())
    share, amount = np.zeros((3, 2, SIDE**2)), np.zeros((2, 2, SIDE**2))
    for n in range(2):
        sums = []
        for searched, scale, window in ((view.prompted, 12.0, ()), (view.recent, 9.0, (falloff, 4))):
            valid = searched.valid_bf[n, :, None].expand(-1, SIDE**2)
            columns = torch.stack([searched.values_bfn[n] * valid, valid], dim=2)
            sums.append(loops(keys.numpy(), searched.keys_fnc.numpy(), columns.numpy(), scale, *window))
        for index, (covered, weight) in enumerate(np.transpose(x) for x in (sums[0] + sums[1], *sums)):
            share[index, n] = covered / weight
            if index:
                amount[index - 1, n] = LOG_SCALE * np.log(weight)
    rivals = share[0, ::-1]
    expected = np.stack([*(2 * x - 1 for x in (*share, rivals)), *amount], axis=1)
    np.testing.assert_allclose(found.flatten(2).numpy(), expected, atol=2e-4)


def test_a_frame_that_is_not_valid_is_ignored(matching: Matching) -> None:
    keys, recent = unit(), frames(2, 1, seed=2)
    prompted = frames(2, 3)
    prompted.valid_bf[:, 1] = 0
    kept = MatchFrames(*(x[[0, 2]] if x is prompted.keys_fnc else x[:, [0, 2]] for x in prompted))
    found, expected = (matching.read(keys, MatchView(x, recent)) for x in (prompted, kept))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    prompted.valid_bf[:] = 0
    found, expected = (matching.read(keys, MatchView(x, recent)) for x in (prompted, without_frames(2)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_objects_in_a_batch_are_as_alone_but_for_their_rivals(matching: Matching) -> None:
    keys, view = unit(), MatchView(frames(3, 2, seed=1), frames(3, 2, seed=2))
    together = matching.read(keys, view)
    single = [
        MatchView(*(MatchFrames(x.keys_fnc, x.values_bfn[n, None], x.valid_bf[n, None]) for x in view))
        for n in range(3)
    ]
    alone = torch.cat([matching.read(keys, own) for own in single])
    others = [c for c in range(6) if c != RIVALS]
    torch.testing.assert_close(together[:, others], alone[:, others], atol=1e-5, rtol=1e-5)
    assert (alone[:, RIVALS] == -1).all()
    for n in range(3):
        rest = [together[other, 0] for other in range(3) if other != n]
        assert torch.equal(together[n, RIVALS], torch.maximum(*rest))


def test_without_any_frame_nothing_is_found(matching: Matching) -> None:
    found = matching.read(unit(), MatchView(without_frames(2), without_frames(2)))
    assert (found[:, :4] == -1).all()
    torch.testing.assert_close(
        found[:, 4:], torch.full_like(found[:, 4:], LOG_SCALE * float(np.log(NOTHING)))
    )


@pytest.mark.parametrize("prompted", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pattern_that_has_moved_is_found_again(
    matching: Matching, prompted: bool, dtype: torch.dtype
) -> None:
    """Every cell looks different; the object moves by three cells, within the windows."""
    past, noise = unit(1, side=24)[0], 0.2 * unit(1, seed=9, side=24)[0]
    mask = torch.zeros(24, 24)
    mask[6:14, 8:15] = 1
    now = past.unflatten(0, (24, 24)).clone()
    now[9:17, 6:13] = now[6:14, 8:15].clone()
    moved = torch.zeros(24, 24)
    moved[9:17, 6:13] = 1
    moved_from = (mask > 0) & (moved == 0)
    now[moved_from] = unit(1, seed=5, side=24)[0].unflatten(0, (24, 24))[moved_from]
    known = MatchFrames(past[None], mask.flatten()[None, None], torch.ones(1, 1))
    nothing = MatchFrames(past[None][:0], known.values_bfn[:, :0], known.valid_bf[:, :0])
    view = MatchView(known, nothing) if prompted else MatchView(nothing, known)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        found = matching.read(F.normalize(now.flatten(0, 1) + noise, dim=1), view)[0]
    seen = ~moved_from  # on ground that appears, masks have no reason to be right
    assert mask_iou(((found[0] > 0) & seen).numpy(), (moved > 0).numpy()) > 0.9
    with plain_operators():
        again = matching.read(F.normalize(now.flatten(0, 1) + noise, dim=1), view)[0]
    assert (found - again).abs().mean() < (1e-4 if dtype == torch.float32 else 2e-2)


def test_keys_are_unit_vectors_of_cells_row_by_row() -> None:
    model = matching_model(96)
    features = model.encode_image(torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)))
    assert features.keys.shape == (2, 12 * 12, 64)
    torch.testing.assert_close(features.keys.norm(dim=2), torch.ones(2, 144))
    assert (features.keys[0] @ features.keys[0].t() - torch.eye(144)).max() < 0.999, "cells do not differ"


def test_values_are_shares_of_cells() -> None:
    model = matching_model(96)
    logits = torch.full((2, 1, 24, 24), -30.0)
    logits[0, 0, 4:7, 4] = 30.0
    cells = model.match_values(logits).view(2, 12, 12)
    assert cells[0, 2, 2] == pytest.approx(0.5)
    assert cells[0, 3, 2] == pytest.approx(0.25)
    assert cells.sum() == pytest.approx(0.75)


@torch.inference_mode()
def test_a_new_model_decodes_the_same_with_evidence_as_without() -> None:
    """The embedding's last layers are zero at first; with other weights evidence matters."""
    generator = torch.Generator().manual_seed(0)
    evidence = torch.randn(2, 6, 24, 24, generator=generator)
    image = torch.randn(1, 3, 192, 192, generator=generator)
    differences = []
    for model in (Sam2Model(config_for("nano").at_image_size(192)).eval(), matching_model(192)):
        features = model.encode_image(image)
        fused = model.without_memory(features.s16).expand(2, -1, -1, -1)
        plain, helped = (model.decode(fused, features, evidence_b6hw=x) for x in (None, evidence))
        differences.append(float((plain.logits_b4hw - helped.logits_b4hw).abs().max()))
    assert differences[0] == 0.0
    assert differences[1] > 0.1
