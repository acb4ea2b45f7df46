# SPDX-License-Identifier: Apache-2.0
"""The rollout of a batch with prompts and corrections: equal to the tracker, equal with checkpointing, right counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from own_clips import write_beads

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import Prompt, Tracker, TrackerConfig, config_for
from sam2_ros.engine.model.mask_decoder import upsample_logits
from sam2_ros.engine.model.prompt_encoder import NEGATIVE, POSITIVE
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.engine.preprocess import IMAGENET_MEAN, IMAGENET_STD
from sam2_ros.train.data.augment import draw_augmentation
from sam2_ros.train.data.batch import make_batch
from sam2_ros.train.data.clip_sampler import ClipSampler
from sam2_ros.train.data.sequences import open_sequences
from sam2_ros.train.finetune.parameters import freeze, make_optimiser, set_rates, share_at
from sam2_ros.train.finetune.prompt_plan import draw_plan
from sam2_ros.train.losses import LossConfig
from sam2_ros.train.nano.initial_values import initialise
from sam2_ros.train.prompts import FramePrompts, PromptPlan, corrective_clicks
from sam2_ros.train.rollout import encode_frames, roll_out
from sam2_ros.train.train_config import SIZES, AugmentConfig, FinetuneConfig

SIZE = 96
PLAIN = AugmentConfig(0, 0, 0, (0, 0, 0), (0, 0, 0), 0)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return initialise(Sam2Model(config_for("nano1").at_image_size(SIZE))).eval()


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = write_beads(tmp_path_factory.mktemp("data"), 1, 5, SIZE, things=2)
    return FinetuneConfig(data=(str(folder),), out="unused", frames=4, reverse=0, augment=PLAIN)


@pytest.fixture(scope="module")
def batch(settings):
    sampler = ClipSampler(open_sequences(settings.data), settings, SIZE, SIZE)
    return make_batch([sampler(0)])


PLANS = [
    PromptPlan("mask", (0, 2), ()),
    PromptPlan("box", (0,), (0, 2), clicks=2),
    PromptPlan("click", (0, 3), (0,), clicks=2),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.kind)
def test_gradients_are_the_same_with_and_without_checkpointing(plan, model, batch):
    gradients = []
    for again in (False, True):
        model.zero_grad(set_to_none=True)
        features = encode_frames(model, batch.images_bt3hw, again)
        rolled_out = roll_out(model, features, batch, plan, LossConfig(), (1, 2), frame_by_frame=again)
        rolled_out.terms_4.sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, again = gradients
    assert plain.keys() == again.keys()
    assert len(plain) > 200
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_checkpointing_stores_less_than_a_tenth(model, batch):
    """Compares the bytes that the forward pass stores for the backward pass."""
    kept = []
    for again in (False, True):
        seen: dict[int, int] = {}

        def note(tensor, seen=seen):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            features = encode_frames(model, batch.images_bt3hw, again)
            rolled_out = roll_out(
                model, features, batch, PLANS[1], LossConfig(), (1, 2), frame_by_frame=again
            )
        kept.append(sum(seen.values()))
        del rolled_out
    assert kept[1] < 0.1 * kept[0]


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """A model with random values in every tensor, so that slots and distances matter, and eleven frames."""
    model = Sam2Model(config_for("nano1").at_image_size(SIZE)).eval()
    model.load_state_dict(fill_by_key(model.state_dict(), presence_bias=3.0))
    folder = write_beads(tmp_path_factory.mktemp("long"), 1, 11, SIZE, things=2)
    config = FinetuneConfig(data=(str(folder),), out="unused", frames=11, reverse=0, augment=PLAIN)
    batch = make_batch([ClipSampler(open_sequences(config.data), config, SIZE, SIZE)(0)])
    frames = batch.images_bt3hw[0].permute(0, 2, 3, 1).numpy() * IMAGENET_STD + IMAGENET_MEAN
    with torch.inference_mode():
        features = encode_frames(model, batch.images_bt3hw)
    return model, batch, (frames * 255).round().astype(np.uint8), features


def relative_rms(ours: torch.Tensor, theirs: np.ndarray) -> float:
    return float(np.sqrt(((ours.numpy() - theirs) ** 2).mean() / (theirs**2).mean()))


def test_the_rollout_equals_the_tracker(long_clip):
    """A mask on the first frame, ten frames tracked: logits as of `Tracker.step`, whose bank rounds to bfloat16."""
    model, batch, frames, features = long_clip
    with torch.inference_mode():
        rolled_out = roll_out(model, features, batch, PromptPlan("mask"), LossConfig(), (1,))
    tracker = Tracker(model, TrackerConfig(numerics="official_vos"))
    for t, frame in enumerate(frames):
        masks = enumerate(batch.masks_tmhw[0]) if t == 0 else ()
        result = tracker.step(frame, [Prompt(str(i), mask=mask.numpy()) for i, mask in masks])
        for ours, theirs in zip(rolled_out.logits_tmhw[t], result.objects, strict=True):
            assert theirs.presence > 0
            assert relative_rms(ours, theirs.logits) < 1e-3, t


def test_a_correction_equals_the_trackers(long_clip):
    """One click on the error of the tracked mask, decoded with memory and the current mask, like a live correction."""
    model, batch, frames, features = long_clip
    plain, corrected = (PromptPlan("mask", (0,), frames_, clicks=1) for frames_ in ((), (2,)))
    with torch.inference_mode():
        before, after = (roll_out(model, features, batch, p, LossConfig(), (1,)) for p in (plain, corrected))
    predicted = upsample_logits(before.logits_tmhw[2][:, None], (SIZE, SIZE))[:, 0] > 0
    points, labels = FramePrompts((1, 2)).click(0, predicted, batch.masks_tmhw[2])
    tracker = Tracker(model, TrackerConfig(numerics="stream", memory_policy="official"))
    for t in range(3):
        prompts = [Prompt(str(i), mask=mask.numpy()) for i, mask in enumerate(batch.masks_tmhw[0])]
        if t:
            clicks = zip(points.numpy(), labels.numpy(), strict=True)
            prompts = (
                [Prompt(str(i), points=p, labels=k) for i, (p, k) in enumerate(clicks)] if t == 2 else []
            )
        result = tracker.step(frames[t], prompts)
    for number, theirs in enumerate(result.objects):
        # "stream" also sharpens the edge of the prompted mask in memory.
        assert relative_rms(after.logits_tmhw[2][number], theirs.logits) < 5e-3
        assert relative_rms(before.logits_tmhw[2][number], theirs.logits) > 2e-2
        assert not torch.equal(before.logits_tmhw[3][number], after.logits_tmhw[3][number])


def test_each_answer_counts_and_prompted_masks_do_not(model, batch):
    with torch.no_grad():
        features = encode_frames(model, batch.images_bt3hw)
        counted = [roll_out(model, features, batch, plan, LossConfig(), (1, 2)).answers for plan in PLANS]
    objects, frames = 2, 4
    assert counted == [objects * (frames - 2), objects * (frames + 4), objects * (frames + 2)]


def test_plans_have_the_shares_of_the_paper(settings):
    rng = np.random.default_rng(0)
    visible = np.ones((8, 2), bool)
    visible[5:, 1] = False
    plans = [draw_plan(rng, settings, visible) for _ in range(600)]
    share = {kind: sum(p.kind == kind for p in plans) / len(plans) for kind in ("mask", "click", "box")}
    assert share == pytest.approx({"mask": 0.5, "click": 0.25, "box": 0.25}, abs=0.07)
    assert {p.conditioning[0] for p in plans} == {0}
    assert {len(p.conditioning) for p in plans} == {1, 2}
    assert max(max(p.conditioning) for p in plans) <= 4  # where every object shows
    assert {len(p.corrected) for p in plans if p.kind == "mask"} == {0}
    assert {len(p.corrected) for p in plans if p.kind != "mask"} == {1, 2}
    assert any(set(p.corrected) - set(p.conditioning) for p in plans)


def click(rng, predicted, true):
    points, labels = corrective_clicks(rng, predicted[None], true[None])
    return (*points[0, 0].int().tolist(), labels[0, 0].item())


def test_clicks_lie_in_the_error_and_say_what_is_true_there():
    true, predicted = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    true[5:10, 5:15] = True
    predicted[5:10, 10:25] = True
    rng, in_error = np.random.default_rng(0), 0
    for _ in range(200):
        x, y, label = click(rng, predicted, true)
        assert label == (POSITIVE if true[y, x] else NEGATIVE)
        in_error += predicted[y, x] != true[y, x]
    assert 180 <= in_error < 200  # a tenth is drawn from the whole object
    x, y, label = click(rng, true, true)
    assert (true[y, x], label) == (True, POSITIVE)
    x, y, label = click(rng, true & False, true & False)
    assert label == NEGATIVE


def test_frame_prompts_repeat_their_clicks_whatever_is_predicted():
    script = FramePrompts((1, 2))
    true = torch.zeros(2, 20, 20, dtype=torch.bool)
    true[:, 5:10, 5:10] = True
    first = script.click(0, ~true, true)
    again = script.click(0, torch.zeros_like(true), true)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_rates_fall_towards_the_first_blocks_and_tables_do_not_decay(model, settings):
    freeze(model, encoder=False)
    optimiser = make_optimiser(model, [], settings, SIZES["nano1"])
    of = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    named = dict(model.named_parameters())
    assert len(of) == len(named)
    peaks = [of[id(named[f"image_encoder.trunk.blocks.{i}.attn.qkv.weight"])]["peak"] for i in range(9)]
    assert peaks == pytest.approx([1e-4 * 0.9 ** (8 - i) for i in range(9)])
    assert of[id(named["image_encoder.trunk.patch_embed.proj.weight"])]["peak"] == pytest.approx(
        1e-4 * 0.9**9
    )
    assert of[id(named["image_encoder.trunk.pos_embed"])]["peak"] == 1e-4
    assert of[id(named["memory_attention.layers.0.linear1.weight"])]["peak"] == 2e-4
    decayed = {name for name, p in named.items() if of[id(p)]["weight_decay"]}
    assert "sam_mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight" in decayed
    assert "image_encoder.trunk.patch_embed.proj.weight" in decayed
    tables = (
        "sam_mask_decoder.iou_token.weight",
        "no_obj_ptr",
        "maskmem_tpos_enc",
        "image_encoder.trunk.pos_embed",
    )
    assert not decayed & {*tables, *(name for name in named if name.endswith("bias") or ".norm" in name)}
    set_rates(optimiser, 0.5)
    assert of[id(named["no_obj_ptr"])]["lr"] == 1e-4


def test_the_frozen_parameters_are_those_that_compute_features(model, batch):
    freeze(model, encoder=True)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    freeze(model, encoder=False)
    model.zero_grad(set_to_none=True)
    features = encode_frames(model, batch.images_bt3hw)
    sum(level.sum() for level in features if level is not None).backward()
    assert frozen == {name for name, p in model.named_parameters() if p.grad is not None}


def test_the_schedule_rises_and_falls_to_its_share():
    config = FinetuneConfig(data=("a",), out="b", steps=100, warmup_steps=10, final_share=0.1)
    shares = [share_at(step, config) for step in range(101)]
    assert shares[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert shares[10] == 1
    assert shares[55] == pytest.approx(0.55)
    assert shares[100] == pytest.approx(0.1)
    assert draw_augmentation(np.random.default_rng(0), PLAIN, 3).jitter_t3.tolist() == [[1, 1, 1]] * 3
