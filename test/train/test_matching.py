# SPDX-License-Identifier: Apache-2.0
"""Training of the matching memory: the roll-out reads it as the tracker does, and gradients reach all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matching_models import matching_model, moving_boxes

from sam2_ros.engine import Prompt, Sam2Model, Tracker, TrackerConfig
from sam2_ros.engine.model.sam2 import ImageFeatures
from sam2_ros.train.data.batch import ClipBatch, TrainingClip, make_batch
from sam2_ros.train.losses import LossConfig
from sam2_ros.train.nano.matching_loss import matching_loss
from sam2_ros.train.prompts import PromptPlan
from sam2_ros.train.rollout import encode_frames, roll_out

SIZE, COUNT = 96, 8
BALANCE = 0.5


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    return moving_boxes(COUNT, SIZE)


@pytest.fixture(scope="module")
def batch(scene) -> ClipBatch:
    return make_batch([TrainingClip(*scene)])


@pytest.fixture
def model() -> Sam2Model:
    return matching_model(SIZE)


@contextmanager
def evidence_of(model: Sam2Model) -> Iterator[list[torch.Tensor]]:
    """Evidence that the model decodes with, in the order of the calls."""
    seen: list[torch.Tensor] = []
    handle = model.matching.embed.register_forward_hook(lambda _, given, __: seen.append(given[0].detach()))
    try:
        yield seen
    finally:
        handle.remove()


@torch.inference_mode()
@pytest.mark.parametrize("prompted", [(0,), (0, 1, 2, 3)], ids=["tracked", "true masks"])
def test_the_rollout_finds_what_the_tracker_finds(model, scene, batch, prompted) -> None:
    """On tracked frames, whose bank rounds to bfloat16. With true masks on four frames, evidence of the next one."""
    tracker = Tracker(model, TrackerConfig(numerics="official_vos"))
    with evidence_of(model) as ours:
        features = encode_frames(model, batch.images_bt3hw)
        rolled_out = roll_out(model, features, batch, PromptPlan("mask", prompted), LossConfig(), (1,))
    with evidence_of(model) as theirs:
        for t, frame in enumerate(scene[0]):
            masks = enumerate(scene[1][t]) if t in prompted else ()
            result = tracker.step(frame, [Prompt(str(n), mask=mask) for n, mask in masks])
            for number, (logits, obj) in enumerate(
                zip(rolled_out.logits_tmhw[t], result.objects, strict=True)
            ):
                assert obj.presence > 0
                if t not in prompted:
                    error = np.abs(logits.numpy() - obj.logits).max() / np.abs(obj.logits).max()
                    assert error < 0.02, (t, number)
    tracked = COUNT - len(prompted)
    assert len(ours) == tracked
    theirs = [x for x in theirs if len(x) == 2][-tracked:]
    for found, expected in zip(ours, theirs, strict=True):
        assert found.shape == (2, 6, SIZE // 8, SIZE // 8)
        assert found.std() > 0.1
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0)


def test_clips_of_a_batch_do_not_see_each_other(model, scene) -> None:
    clips = [TrainingClip(*scene), TrainingClip(*moving_boxes(COUNT, SIZE, seed=1))]
    logits = []
    with torch.inference_mode():
        for part in (clips, clips[:1], clips[1:]):
            batch = make_batch(part)
            features = encode_frames(model, batch.images_bt3hw)
            logits.append(
                roll_out(model, features, batch, PromptPlan("mask"), LossConfig(), (1,)).logits_tmhw
            )
    torch.testing.assert_close(logits[0], torch.cat(logits[1:], dim=1), atol=1e-2, rtol=1e-2)


def test_gradients_reach_all_of_it_with_and_without_checkpointing(model, batch) -> None:
    model.requires_grad_()
    gradients = []
    for again in (False, True):
        model.zero_grad(set_to_none=True)
        features = encode_frames(model, batch.images_bt3hw, again)
        plan = PromptPlan("mask", (0,), (2,), clicks=1)
        rolled_out = roll_out(model, features, batch, plan, LossConfig(), (1, 2), frame_by_frame=again)
        rolled_out.terms_4.sum().backward()
        gradients.append({name: p.grad for name, p in model.matching.named_parameters()})
    names = {name.split(".")[0] for name in gradients[0]}
    assert names == {"key_s8", "key_s16", "scale", "log_falloff", "embed", "to_s16", "to_s8", "to_s4"}
    for name, gradient in gradients[0].items():
        assert gradient.abs().sum() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-5, msg=name)
    assert (gradients[0]["scale"] != 0).all()


def features_with(keys_tnc: torch.Tensor) -> ImageFeatures:
    nothing = torch.zeros(len(keys_tnc), 1, 1, 1)
    return ImageFeatures(nothing, nothing, nothing, keys_tnc)


def telling_keys(batch: ClipBatch) -> torch.Tensor:
    """Unit keys that tell each object and the ground apart: of 64 channels one is large."""
    cover = F.avg_pool2d(batch.cover_tmhw, 2).flatten(2)
    keys = torch.zeros(batch.frames, cover.shape[2], 64)
    keys[..., 0] = 0.2
    keys[..., 1 : 1 + cover.shape[1]] = cover.transpose(1, 2)
    return F.normalize(keys, dim=2)


def loss_of(model: Sam2Model, keys_tnc: torch.Tensor, batch: ClipBatch, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return matching_loss(model, features_with(keys_tnc), batch, 4, rng, BALANCE)


def test_the_matching_loss_is_small_for_keys_that_tell_objects_apart(model, batch) -> None:
    telling = telling_keys(batch)
    noise = torch.randn(telling.shape, generator=torch.Generator().manual_seed(0))
    drawn = F.normalize(noise, dim=2)
    assert 4 * loss_of(model, telling, batch) < loss_of(model, drawn, batch)
    some = F.normalize(telling + 0.1 * noise, dim=2)
    assert loss_of(model, telling, batch) < loss_of(model, some, batch) < loss_of(model, drawn, batch)
    assert loss_of(model, some, batch) == loss_of(model, some, batch)
    assert loss_of(model, some, batch) != loss_of(model, some, batch, seed=3), "other frames"


def test_the_matching_loss_trains_keys_and_how_they_are_compared(model, batch) -> None:
    for parameter in (model.matching.scale, model.matching.log_falloff):
        parameter.requires_grad_()
    noise = torch.randn(telling_keys(batch).shape, generator=torch.Generator().manual_seed(0))
    learned = (telling_keys(batch) + 0.3 * noise).requires_grad_()
    optimiser = torch.optim.Adam([learned, model.matching.scale, model.matching.log_falloff], lr=0.02)
    losses = []
    for _ in range(6):
        losses.append(loss_of(model, F.normalize(learned, dim=2), batch))
        optimiser.zero_grad()
        losses[-1].backward()
        assert (model.matching.scale.grad != 0).all()
        assert model.matching.log_falloff.grad != 0
        optimiser.step()
    assert losses[-1] < 0.8 * losses[0]


def test_a_frame_without_the_object_does_not_count(model, scene) -> None:
    """One object of three frames, hidden on the second: only the third is judged, by the first."""
    masks = scene[1][:3, :1].copy()
    masks[1] = False
    batch = make_batch([TrainingClip(scene[0][:3], masks)])
    keys = telling_keys(batch)
    other = keys.clone()
    other[1] = F.normalize(torch.randn(keys.shape[1:], generator=torch.Generator().manual_seed(0)), dim=1)
    assert loss_of(model, keys, batch) == pytest.approx(float(loss_of(model, other, batch)))
    other[0] = other[1]
    assert loss_of(model, keys, batch) < loss_of(model, other, batch)


@torch.inference_mode()
def test_an_unfused_object_is_tracked_by_the_matching_memory_alone(batch, monkeypatch) -> None:
    model = matching_model(SIZE)
    features = encode_frames(model, batch.images_bt3hw)

    def tracked(unfused: list[bool] | None) -> torch.Tensor:
        chosen = None if unfused is None else torch.tensor(unfused)
        plan = PromptPlan("mask")
        return roll_out(model, features, batch, plan, LossConfig(), (1,), unfused_m=chosen).logits_tmhw[1]

    fused, first, both = tracked(None), tracked([True, False]), tracked([True, True])
    monkeypatch.setattr(model, "fuse_memory", lambda s16, view: model.without_memory(s16))
    without = tracked(None)
    torch.testing.assert_close(both, without)
    torch.testing.assert_close(first, torch.stack([without[0], fused[1]]))
    assert (without[0] - fused[0]).abs().max() > 0.01 * fused[0].abs().max()
