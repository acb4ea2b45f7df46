# SPDX-License-Identifier: Apache-2.0
"""Cached features equal those of the encoder; a teacher's masks and features are learned."""

from __future__ import annotations

import itertools

import pytest
import torch
from own_clips import write_beads
from random_models import random_model

from sam2_ros.engine import config_for
from sam2_ros.engine.model.prompt_encoder import BOX_MAX, BOX_MIN
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.train.data.batch import make_batch
from sam2_ros.train.data.clip_sampler import ClipSampler
from sam2_ros.train.data.sequences import open_sequences
from sam2_ros.train.finetune.feature_cache import FeatureCache
from sam2_ros.train.finetune.teacher import FeatureBridge, Teacher, mask_distillation_loss, tight_boxes
from sam2_ros.train.losses import LossConfig
from sam2_ros.train.nano.initial_values import initialise
from sam2_ros.train.prompts import PromptPlan
from sam2_ros.train.rollout import encode_frames, roll_out
from sam2_ros.train.train_config import AugmentConfig, FinetuneConfig

SIZE = 96


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return initialise(Sam2Model(config_for("nano1").at_image_size(SIZE))).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    return open_sequences([write_beads(tmp_path_factory.mktemp("data"), 2, 3, SIZE)])


def sampler(sequences, picture_size, flip):
    augment = AugmentConfig(flip, 0, 0, (0, 0, 0), (0, 0, 0), 0)
    config = FinetuneConfig(data=("given",), out="unused", frames=3, augment=augment)
    return ClipSampler(sequences, config, SIZE, picture_size)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_cached_features_are_the_encoders_within_float16(flip, model, sequences, tmp_path):
    cache = FeatureCache(tmp_path, model)
    assert cache.fill(sequences, flip > 0, 0, 1, lambda *_: None) == 6 * (1 + (flip > 0))
    batch = make_batch([sampler(sequences, SIZE, flip)(0)])
    without_pictures = make_batch([sampler(sequences, 0, flip)(0)])
    assert without_pictures.images_bt3hw is None
    assert torch.equal(batch.masks_tmhw, without_pictures.masks_tmhw)
    cached = cache.load(list(itertools.chain(*without_pictures.keys_bt)), torch.device("cpu"))
    computed = encode_frames(model, batch.images_bt3hw)
    for ours, theirs in zip(cached[:3], computed[:3], strict=True):
        scale = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, atol=2e-3 * scale, rtol=0)
    plan = PromptPlan("box", (0,), ())
    with torch.no_grad():
        a, b = (roll_out(model, f, batch, plan, LossConfig(), (1,)).terms_4 for f in (cached, computed))
    torch.testing.assert_close(a, b, rtol=0.01, atol=0.01)


def test_a_cache_is_filled_once_by_all_processes_together_and_of_one_encoder_only(model, sequences, tmp_path):
    cache = FeatureCache(tmp_path, model)
    made = [cache.fill(sequences, False, rank, 2, lambda *_: None) for rank in (0, 1)]
    assert made == [3, 3]
    assert FeatureCache(tmp_path, model).fill(sequences, False, 0, 1, lambda *_: None) == 0
    other = random_model(model.config, seed=5)
    assert FeatureCache(tmp_path, other).folder != cache.folder
    assert not list(tmp_path.rglob("*.partial"))


def test_a_teacher_of_another_size_answers_in_its_own_pixels(model, sequences):
    """The teacher is prompted with the true box at its own input size: equal to running that model directly."""
    torch.manual_seed(1)
    teacher = Teacher(initialise(Sam2Model(config_for("nano1").at_image_size(2 * SIZE))))
    batch = make_batch([sampler(sequences, 2 * SIZE, 0.0)(0)])
    assert batch.images_bt3hw.shape[-1] == 2 * SIZE
    features = teacher.encode(batch.images_bt3hw)
    logits = teacher.mask_logits(features, batch, 1)
    assert logits.shape == (1, SIZE // 2, SIZE // 2)
    (box,) = tight_boxes(batch.masks_tmhw[1]) * 2
    ys, xs = batch.masks_tmhw[1, 0].nonzero(as_tuple=True)
    assert box.tolist() == [[2 * xs.min(), 2 * ys.min()], [2 * xs.max() + 2, 2 * ys.max() + 2]]
    with torch.no_grad():
        alone = teacher.model.encode_image(batch.images_bt3hw[:, 1])
        direct = teacher.model.decode(
            teacher.model.without_memory(alone.s16), alone, box[None], torch.tensor([[BOX_MIN, BOX_MAX]])
        )
    torch.testing.assert_close(logits, direct.logits_b4hw[:, 0], rtol=1e-4, atol=1e-4)


def test_distillation_loss_is_least_for_equal_masks_and_counts_visible_objects():
    theirs = torch.randn(2, 8, 8) * 4
    both, first = torch.tensor([True, True]), torch.tensor([True, False])
    same = mask_distillation_loss(theirs, theirs, both)
    assert same < mask_distillation_loss(theirs + 1, theirs, both)
    assert same < mask_distillation_loss(-theirs, theirs, both)
    changed = theirs.clone()
    changed[1] = -changed[1]
    assert mask_distillation_loss(changed, theirs, first) == mask_distillation_loss(theirs, theirs, first)


def test_features_learn_to_match_the_teachers(sequences):
    """Training bridge and encoder together reduces the difference, and does not change the teacher."""
    torch.manual_seed(2)
    ours = initialise(Sam2Model(config_for("nano1").at_image_size(SIZE)))
    teacher = Teacher(random_model(config_for("nano1").at_image_size(2 * SIZE), seed=3))
    before = [p.clone() for p in teacher.model.parameters()]
    bridge = FeatureBridge(ours.config, teacher.model.config)
    batch = make_batch([sampler(sequences, SIZE, 0.0)(0)])
    theirs = teacher.encode(batch.images_bt3hw)
    optimiser = torch.optim.AdamW([*ours.parameters(), *bridge.parameters()], lr=1e-3)
    differences = []
    for _ in range(6):
        difference = bridge(encode_frames(ours, batch.images_bt3hw), theirs)
        optimiser.zero_grad()
        difference.backward()
        optimiser.step()
        differences.append(difference.item())
    assert differences[-1] < 0.8 * differences[0], differences
    assert ours.image_encoder["trunk"].blocks[0].attn.qkv.weight.grad.abs().max() > 0
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.model.parameters(), strict=True))
