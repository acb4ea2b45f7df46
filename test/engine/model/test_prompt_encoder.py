# SPDX-License-Identifier: Apache-2.0
"""Clicks and boxes drawn into the dense prompt: where, over what, and of which models."""

from __future__ import annotations

import pytest
import torch
from matching_models import matching_model

from sam2_ros.engine.config import FAMILY, config_for
from sam2_ros.engine.model.prompt_encoder import (
    BOX_MAX,
    BOX_MIN,
    CLICKED,
    INSIDE_BOX,
    NEGATIVE,
    OUTSIDE_BOX,
    PADDING,
    POSITIVE,
    PromptEncoder,
)
from sam2_ros.engine.model.sam2 import Sam2Model

SIZE, SIDE = 128, 32  # pixels of the input, cells of 4 px


@pytest.fixture(scope="module")
def prompts() -> PromptEncoder:
    return PromptEncoder(config_for("nano").at_image_size(SIZE))


def drawn(prompts: PromptEncoder, given: list[tuple[int, float, float]], logits: float | None = None):
    """One prompt of (label, x, y), over a constant earlier mask: ``[32, 32]``."""
    points = torch.tensor([[(x, y) for _, x, y in given]])
    labels = torch.tensor([[label for label, _, _ in given]])
    earlier = None if logits is None else torch.full((1, 1, SIDE, SIDE), logits)
    return prompts.drawn(points, labels, earlier)[0, 0]


def test_a_box_is_drawn_over_the_cells_whose_centres_are_in_it(prompts: PromptEncoder) -> None:
    found = drawn(prompts, [(BOX_MIN, 20, 40), (BOX_MAX, 80, 100)])
    expected = torch.full((SIDE, SIDE), OUTSIDE_BOX)
    expected[10:25, 5:20] = INSIDE_BOX  # rows of y = 40..100, columns of x = 20..80
    torch.testing.assert_close(found, expected)


def test_clicks_are_discs_with_a_sign_and_the_rest_is_unknown(prompts: PromptEncoder) -> None:
    found = drawn(prompts, [(POSITIVE, 29.5, 61.5), (NEGATIVE, 101.5, 61.5), (PADDING, 0, 0)])
    y, x = torch.meshgrid(*[(torch.arange(SIDE) + 0.5) * 4] * 2, indexing="ij")
    for centre, logit in ((30, CLICKED), (102, -CLICKED)):
        disc = ((x - centre) ** 2 + (y - 62) ** 2).sqrt() <= 8
        assert torch.equal(found == logit, disc)
        assert 8 <= disc.sum() <= 16
    assert set(found.unique().tolist()) == {-CLICKED, 0.0, CLICKED}
    assert drawn(prompts, [(PADDING, 64, 64)]).abs().max() == 0


def test_an_earlier_mask_replaces_the_box_and_clicks_are_drawn_over_it(prompts: PromptEncoder) -> None:
    box = [(BOX_MIN, 20, 40), (BOX_MAX, 80, 100)]
    assert drawn(prompts, box, logits=-4.0).unique().tolist() == [-4.0]
    found = drawn(prompts, [*box, (POSITIVE, 64, 64)], logits=-4.0)
    assert set(found.unique().tolist()) == {-4.0, CLICKED}
    assert found[16, 16] == CLICKED


def test_an_earlier_mask_of_another_size_is_resized(prompts: PromptEncoder) -> None:
    points, labels = torch.tensor([[[64.0, 64.0]]]), torch.tensor([[POSITIVE]])
    found = prompts.drawn(points, labels, torch.full((1, 1, SIZE, SIZE), -4.0))
    assert found.shape == (1, 1, SIDE, SIDE)
    assert set(found.round(decimals=3).unique().tolist()) == {-4.0, CLICKED}


def test_prompts_of_a_batch_are_drawn_each_on_its_own(prompts: PromptEncoder) -> None:
    points = torch.tensor([[[20.0, 40.0], [80.0, 100.0]], [[64.0, 64.0], [0.0, 0.0]]])
    labels = torch.tensor([[BOX_MIN, BOX_MAX], [POSITIVE, PADDING]])
    together = prompts.drawn(points, labels, None)[:, 0]
    torch.testing.assert_close(together[0], drawn(prompts, [(BOX_MIN, 20, 40), (BOX_MAX, 80, 100)]))
    torch.testing.assert_close(together[1], drawn(prompts, [(POSITIVE, 64, 64)]))


def reach(prompts: PromptEncoder, *given: tuple[int, float, float]) -> torch.Tensor:
    points = torch.tensor([[(x, y) for _, x, y in given]])
    return prompts.within_reach(points, torch.tensor([[label for label, _, _ in given]]))[0, 0]


def test_a_mask_may_reach_a_twentieth_beyond_its_box_and_anywhere_with_a_click_there(
    prompts: PromptEncoder,
) -> None:
    box = (BOX_MIN, 19.5, 39.5), (BOX_MAX, 99.5, 79.5)  # 80 x 40 px: margins of 4 and 2 px
    expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    expected[9:21, 4:26] = True  # centres at y = 38..82 and x = 18..102, 4 px apart
    assert torch.equal(reach(prompts, *box), expected)
    assert torch.equal(reach(prompts, *box, (POSITIVE, 60, 60), (NEGATIVE, 120, 120)), expected)
    assert reach(prompts, *box, (POSITIVE, 120, 60)).all()
    assert reach(prompts, (POSITIVE, 60, 60), (PADDING, 0, 0)).all()


@torch.inference_mode()
def test_logits_beyond_the_box_are_low_and_the_others_as_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = matching_model(SIZE)
    features = model.encode_image(torch.zeros(1, 3, SIZE, SIZE))
    fused = model.without_memory(features.s16)
    points, labels = torch.tensor([[[19.5, 39.5], [99.5, 79.5]]]), torch.tensor([[BOX_MIN, BOX_MAX]])
    limited = model.decode(fused, features, points, labels).logits_b4hw
    allowed = model.sam_prompt_encoder.within_reach(points, labels)
    monkeypatch.setattr(PromptEncoder, "within_reach", lambda *_: torch.ones_like(allowed))
    free = model.decode(fused, features, points, labels).logits_b4hw
    assert (free[..., ~allowed[0, 0]] > OUTSIDE_BOX).any()
    assert limited[..., ~allowed[0, 0]].max() <= OUTSIDE_BOX
    assert torch.equal(limited[..., allowed[0, 0]], free[..., allowed[0, 0]])


@torch.inference_mode()
def test_only_models_that_want_it_decode_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [name for name, config in FAMILY.items() if config.prompt_maps]
    assert asked == ["nano"]
    model = matching_model(SIZE)
    older = Sam2Model(config_for("nano1").at_image_size(SIZE)).eval()
    points, labels = torch.tensor([[[20.0, 40.0], [80.0, 100.0]]]), torch.tensor([[BOX_MIN, BOX_MAX]])
    image = torch.zeros(1, 3, SIZE, SIZE)
    answers = {}
    for each in (model, older):
        features = each.encode_image(image)
        fused = each.without_memory(features.s16)
        with_box = each.decode(fused, features, points, labels).logits_b4hw
        with monkeypatch.context() as patch:
            patch.setattr(PromptEncoder, "drawn", lambda self, points, labels, logits: logits)
            answers[each.config.name] = (
                with_box - each.decode(fused, features, points, labels).logits_b4hw
            ).abs()
    assert answers["nano"].max() > 1e-3
    assert answers["nano1"].max() == 0
