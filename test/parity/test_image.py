# SPDX-License-Identifier: Apache-2.0
"""Compares image mode with transformers' `Sam2Model`: tiny, fp32, every tensor filled from a seed and its key.

Does not compare resize filters: both sides get the same normalised pixels.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("transformers", reason="transformers is the reference of the parity tests")

from parity.pair import TOLERANCE, official_weights, our_model, relative_error, rms
from parity.scene import IMAGE_MEAN, IMAGE_STD, moving_disc, normalised
from parity.transformers_reference import image_model

from sam2_ros.engine import ImageSegmenter
from sam2_ros.engine.model.mask_decoder import STABILITY_THRESHOLD, choose_mask, mask_stability
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.engine.model.transformers_layout import to_transformers

SEED = 2
PROMPTS = {  # points in pixels of a 128 px input, labels: 1 and 0 clicks, 2 and 3 the corners of a box
    "one click": ([[40.0, 64.0]], [1]),
    "two clicks": ([[40.0, 64.0], [100.0, 20.0]], [1, 0]),
    "box": ([[18.5, 40.0], [62.0, 90.0]], [2, 3]),
    "box and click": ([[18.5, 40.0], [62.0, 90.0], [40.0, 64.0]], [2, 3, 1]),
}


class Pair:
    def __init__(self, image_size_px: int, candidate_0_gain: float = 1.0) -> None:
        weights = official_weights(SEED)
        for part in ("weight", "bias"):
            weights[f"sam_mask_decoder.output_hypernetworks_mlps.0.layers.2.{part}"] *= candidate_0_gain
        self.size_px = image_size_px
        self.pixels = normalised(moving_disc(1, image_size_px)[0])[None]
        self.reference = image_model(to_transformers(weights), image_size_px)
        self.model: Sam2Model = our_model(weights, image_size_px)

    @torch.inference_mode()
    def decode_ours(self, points: list[list[float]], labels: list[int], mask: Tensor | None = None):
        features = self.model.encode_image(self.pixels)
        points_bn2 = torch.tensor([points]) * (self.size_px / 128)
        return self.model.decode(
            self.model.without_memory(features.s16), features, points_bn2, torch.tensor([labels]), mask
        )

    @torch.inference_mode()
    def decode_reference(
        self, points: list[list[float]], labels: list[int], multimask: bool, mask: Tensor | None = None
    ):
        out = self.reference(
            pixel_values=self.pixels,
            input_points=torch.tensor([[points]]) * (self.size_px / 128),
            input_labels=torch.tensor([[labels]], dtype=torch.int32),
            input_masks=mask,
            multimask_output=multimask,
        )
        return out.pred_masks[0, 0], out.iou_scores[0, 0], out.object_score_logits.flatten()


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair(128)


@torch.inference_mode()
def test_features_of_the_three_levels_agree(pair: Pair) -> None:
    ours = pair.model.encode_image(pair.pixels)
    feats = pair.reference.get_image_features(pair.pixels, return_dict=True).fpn_hidden_states
    for name, reference in zip(("s4", "s8", "s16"), feats, strict=True):
        mine = getattr(ours, name).flatten(2).permute(2, 0, 1)
        assert rms(reference) > 0.1
        assert relative_error(mine, reference) < TOLERANCE / 10, name


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("with_mask", [False, True])
def test_candidates_scores_and_presence_agree(pair: Pair, kind: str, with_mask: bool) -> None:
    points, labels = PROMPTS[kind]
    mask = (
        torch.from_numpy(np.random.default_rng(0).normal(0, 6, (1, 1, 32, 32))).float() if with_mask else None
    )
    ours = pair.decode_ours(points, labels, mask)
    logits, iou, score = pair.decode_reference(points, labels, multimask=True, mask=mask)
    assert rms(logits) > 1
    assert relative_error(ours.logits_b4hw[0, 1:], logits) < TOLERANCE
    assert relative_error(ours.iou_b4[0, 1:], iou) < TOLERANCE
    assert relative_error(ours.presence_b, score) < TOLERANCE


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("kind", ["two clicks", "box"])
def test_the_single_mask_and_its_stability_fallback_agree(kind: str, stable: bool) -> None:
    pair = Pair(128, candidate_0_gain=20.0 if stable else 1.0)  # steep logits have few pixels near 0
    points, labels = PROMPTS[kind]
    decoded = pair.decode_ours(points, labels)
    assert bool(mask_stability(decoded.logits_b4hw[:, 0]) >= STABILITY_THRESHOLD) is stable
    ours = choose_mask(decoded, multimask=False, stability_fallback=True)
    logits, iou, _ = pair.decode_reference(points, labels, multimask=False)
    assert relative_error(ours.logits_b1hw[0], logits) < TOLERANCE
    assert relative_error(ours.iou_b, iou) < TOLERANCE


def test_the_order_of_prompt_tokens_does_not_matter(pair: Pair) -> None:
    # The official predictor puts box corners first; transformers' box argument puts them after the points.
    points, labels = PROMPTS["box and click"]
    ours = pair.decode_ours(points, labels)
    reordered = pair.decode_ours(points[2:] + points[:2], labels[2:] + labels[:2])
    assert relative_error(reordered.logits_b4hw, ours.logits_b4hw) < TOLERANCE / 10


@torch.inference_mode()
@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("kind", PROMPTS)
def test_the_segmenter_gives_the_masks_of_a_frame_of_another_size(
    pair: Pair, kind: str, multimask: bool
) -> None:
    """For an image of 200 x 150 pixels; the official image predictor resizes floats with antialias."""
    image = moving_disc(1, 208)[0][:150, :200]
    small = F.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255,
        (128, 128),
        mode="bilinear",
        antialias=True,
    )
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (IMAGE_MEAN, IMAGE_STD))
    points, labels = PROMPTS[kind]
    out = pair.reference(
        pixel_values=(small - mean) / deviation,
        input_points=torch.tensor([[points]]),
        input_labels=torch.tensor([[labels]], dtype=torch.int32),
        multimask_output=multimask,
    )
    logits = out.pred_masks[0, 0]
    expected = F.interpolate(logits[None], (150, 200), mode="bilinear")[0] > 0

    segmenter = ImageSegmenter(pair.model)
    segmenter.set_image(np.ascontiguousarray(image))
    here = np.array(points) * [200 / 128, 150 / 128]
    clicks = [i for i, label in enumerate(labels) if label < 2]
    corners = here[[i for i, label in enumerate(labels) if label >= 2]]
    ours = segmenter.predict(
        points=here[clicks] if clicks else None,
        labels=np.array(labels)[clicks] if clicks else None,
        box=corners.flatten() if len(corners) else None,
        multimask=multimask,
    )
    assert relative_error(torch.from_numpy(ours.logits), logits.clamp(-32, 32)) < TOLERANCE
    assert relative_error(torch.from_numpy(ours.scores), out.iou_scores[0, 0]) < TOLERANCE
    assert (ours.masks != expected.numpy()).mean() < 1e-3


@pytest.mark.slow
def test_one_click_at_1024() -> None:
    pair = Pair(1024)
    points, labels = PROMPTS["one click"]
    ours = pair.decode_ours(points, labels)
    logits, iou, score = pair.decode_reference(points, labels, multimask=True)
    assert rms(logits) > 1
    assert relative_error(ours.logits_b4hw[0, 1:], logits) < TOLERANCE
    assert relative_error(ours.iou_b4[0, 1:], iou) < TOLERANCE
    assert relative_error(ours.presence_b, score) < TOLERANCE
