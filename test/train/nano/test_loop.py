# SPDX-License-Identifier: Apache-2.0
"""Training of nano reduces its losses, resumes, and runs clips as the tracker does."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from sam2_ros.engine import Prompt, Tracker, TrackerConfig, config_for
from sam2_ros.engine.model.sam2 import MemoryView, Sam2Model
from sam2_ros.train.data.batch import TrainingClip
from sam2_ros.train.losses import LossConfig
from sam2_ros.train.nano.clips import clip_batches, rendered_batch, start_middle_later, variation
from sam2_ros.train.nano.grouping_loss import GroupingLoss
from sam2_ros.train.nano.initial_values import initialise
from sam2_ros.train.nano.loop import train_nano
from sam2_ros.train.nano.optimisers import make_optimisers
from sam2_ros.train.nano.recipe import NanoConfig, Phase
from sam2_ros.train.nano.simulate import LongOcclusion, SimulatedMemory
from sam2_ros.train.prompts import PromptPlan
from sam2_ros.train.rollout import encode_frames, roll_out

pytest.importorskip("skimage", reason="training clips use the pictures that come with scikit-image")

pytestmark = pytest.mark.long

SIZE = 256
LOSS = LossConfig("balanced", full_size=False, every_candidate=0.25)


@pytest.fixture(scope="module")
def batch():
    return rendered_batch(77, clips=1, size=SIZE, objects=2, frames=2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return initialise(Sam2Model(config_for("nano1").at_image_size(SIZE)))


def test_targets_are_the_share_of_each_cell_that_the_object_covers(batch):
    masks = batch.masks_tmhw.float()
    assert batch.cover_tmhw.shape == (2, 2, SIZE // 4, SIZE // 4)
    torch.testing.assert_close(batch.cover_tmhw.sum(dim=(2, 3)) * 16, masks.sum(dim=(2, 3)))
    assert batch.visible_tm[0].all()


def test_workers_deliver_the_clips_of_the_seeds_in_order(batch):
    first, second = clip_batches(76, 1, SIZE, 2, iter([2, 2]), workers=2)
    torch.testing.assert_close(second.images_bt3hw, batch.images_bt3hw)
    assert not torch.equal(first.images_bt3hw, second.images_bt3hw)


def test_reused_clips_are_variations_of_the_same_objects():
    batches = list(clip_batches(76, 4, SIZE, 1, iter([1, 1, 1]), workers=1, reuse=4))
    assert [len(b.images_bt3hw) for b in batches] == [4, 4, 4]
    known = batches[0].cover_tmhw[0].flatten(1).sum(dim=1)
    for batch in batches[1:]:
        areas = batch.cover_tmhw[0].flatten(1).sum(dim=1)
        repeated = (areas[:, None] - known).abs().min(dim=1).values < 1e-3
        assert repeated.sum() >= 2
        assert batch.visible_tm[0].all()
        assert not any(torch.equal(a, b) for a in batch.images_bt3hw for b in batches[0].images_bt3hw)


def test_a_variation_moves_pixels_and_masks_alike():
    """A frame that shows its own mask still does so after a variation."""
    masks = np.zeros((2, 1, 8, 8), bool)
    masks[:, :, 1:3, 2:7] = True
    frames = np.repeat(masks[:, 0, :, :, None], 3, axis=-1).astype(np.uint8) * 200
    for seed in range(12):
        varied, moved, _ = variation(TrainingClip(frames, masks), np.random.default_rng(seed))
        assert moved.sum() == masks.sum()
        np.testing.assert_array_equal(varied[..., 0] > varied[..., 0].mean(), moved[:, 0])


@pytest.mark.parametrize(
    ("length", "frames"),
    [(5, 5), (6, 5), (29, 5), (60, 6), (9, 3), (1, 1), (40, 1), (40, 2), (8, 8), (9, 8), (60, 8)],
)
def test_of_a_long_clip_the_start_the_middle_and_some_later_frames_are_drawn(length, frames):
    for seed in range(20):
        times = start_middle_later(np.random.default_rng(seed), length, frames)
        assert len(times) == frames
        assert times[0] == 0
        assert all(a < b < length for a, b in pairwise(times))
        assert length < 2 * frames or frames < 3 or length // 2 in times


def test_grouping_learns_to_distinguish_an_object_from_the_rest(batch, model):
    torch.manual_seed(0)
    grouping = GroupingLoss(model.config)
    with torch.no_grad():
        features = encode_frames(model, batch.images_bt3hw)
    optimiser = torch.optim.AdamW(grouping.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = grouping(features, batch.cover_tmhw, 1, 1.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses


def test_every_parameter_is_stepped_once(model):
    both = torch.nn.ModuleList([model, GroupingLoss(model.config)])
    groups = [g for optimiser in make_optimisers(both, NanoConfig()) for g in optimiser.param_groups]
    stepped = [id(p) for g in groups for p in g["params"]]
    assert sorted(stepped) == sorted(id(p) for p in both.parameters())
    decayed = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in decayed}
    assert "sam_mask_decoder.mask_tokens.weight" not in names
    assert "maskmem_tpos_enc" not in names
    assert "image_encoder.trunk.blocks.0.attn.qkv.weight" in names


def test_a_few_steps_on_one_batch_lower_its_loss(batch, model):
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4)
    memory = SimulatedMemory(batch, torch.ones(2, dtype=torch.bool))
    losses = []
    for _ in range(12):
        features = encode_frames(model, batch.images_bt3hw)
        rng = np.random.default_rng(0)
        loss = roll_out(model, features, batch, PromptPlan("box"), LOSS, rng, memory).terms_4.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses


def test_memory_starts_by_matching_appearance(model):
    """The masked object of a memory is found by its features at a new position."""
    config = model.config
    before, now = (
        torch.randn(2, config.d_model, 1, 1)
        .mul(0.3)
        .expand(-1, -1, config.grid, config.grid)
        .clone()[:, None]
    )
    thing = torch.randn(config.d_model, 1, 1)
    before[0, :, 2:5, 2:5] = thing
    now[:] = before[0, :, :1, :1]
    now[0, :, 9:12, 10:13] = thing
    covered = torch.full((1, 1, config.mask_side, config.mask_side), -10.0)
    covered[..., 8:20, 8:20] = 10.0
    slot, no_pointers = torch.tensor([[config.num_maskmem - 1]]), torch.zeros(1, 0, config.d_model)
    fused = []
    with torch.inference_mode():
        for logits in (covered, torch.full_like(covered, -10.0)):
            memory = model.encode_memory(before, logits, torch.ones(1))
            view = MemoryView(memory[:, None], slot, no_pointers, torch.zeros(1, 0))
            fused.append(model.fuse_memory(now, view))
    change = (fused[0] - fused[1]).abs().sum(dim=1)[0]
    assert change[9:12, 10:13].mean() > 3 * change.mean()
    assert change[9:12, 10:13].mean() > 3 * change[2:5, 2:5].mean()


def test_the_rollout_equals_the_tracker(batch, model):
    """Same masks on the prompted and on a tracked frame; the bank's bfloat16 leaves a small difference."""
    frames = (
        batch.images_bt3hw[0].permute(0, 2, 3, 1).numpy() * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]
    ) * 255
    frames = frames.round().astype(np.uint8)
    tracker = Tracker(model, TrackerConfig(numerics="official_vos"))
    clicks = [np.argwhere(mask)[0][::-1] for mask in batch.masks_tmhw[0].numpy()]
    prompts = [Prompt(f"o{i}", points=click[None].astype(float)) for i, click in enumerate(clicks)]

    class FirstPixel:
        """Chooses the same pixel as the prompts above."""

        def integers(self, _):
            return 0

    with torch.inference_mode():
        features = encode_frames(model, batch.images_bt3hw)
        unrolled = roll_out(model, features, batch, PromptPlan("click"), LOSS, FirstPixel())  # type: ignore[arg-type]
    for t, frame in enumerate(frames):
        result = tracker.step(frame, prompts)
        prompts = []
        for obj, logits, presence in zip(
            result.objects, unrolled.candidates[t], unrolled.presence_tm[t], strict=True
        ):
            assert obj.presence == pytest.approx(presence.item(), abs=0.02)
            if presence > 0:
                assert np.abs(obj.logits - logits.numpy()).max() < 0.05 * max(1.0, np.abs(obj.logits).max())


def test_a_lost_object_is_forgotten_in_memory_alone():
    batch = rendered_batch(79, clips=1, size=128, objects=2, frames=3)
    assert batch.visible_tm.all()  # hidden objects are stored as absent anyway
    torch.manual_seed(0)
    model = initialise(Sam2Model(config_for("nano1").at_image_size(128)))
    true = torch.ones(2, dtype=torch.bool)
    occlusion = LongOcclusion(1, 1, torch.tensor([True, False]))
    with torch.inference_mode():
        features = encode_frames(model, batch.images_bt3hw)
        plain, lost = (
            roll_out(model, features, batch, PromptPlan("box"), LOSS, np.random.default_rng(0), memory)
            for memory in (
                SimulatedMemory(batch, true),
                SimulatedMemory(batch, true, occlusion=occlusion),
            )
        )
    for t in range(2):
        torch.testing.assert_close(plain.candidates[t], lost.candidates[t])
    change = (plain.candidates[2] - lost.candidates[2]).abs().mean(dim=(1, 2))
    assert change[0] > 0
    assert change[1] == 0


def test_a_run_resumes_where_it_stopped(tmp_path):
    settings = {
        "objects": 1, "validation_clips": 1, "validation_frames": 2, "checkpoint_every": 1, "log_every": 1,
    }  # fmt: skip
    prompted = Phase(1, 128, frames=1, clips=1, learning_rate=1e-3)
    tracked = Phase(1, SIZE, frames=2, clips=1, learning_rate=1e-3, memory_alone=True)
    train_nano(NanoConfig((prompted,), **settings), tmp_path)
    after_one = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    train_nano(NanoConfig((prompted, tracked), **settings), tmp_path)
    after_two = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (after_one["step"], after_two["step"]) == (1, 2)
    changed = {k for k, v in after_one["model"].items() if not torch.equal(v, after_two["model"][k])}
    assert "memory_attention.norm.weight" in changed
    assert not any(k.startswith("image_encoder.") for k in changed)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 1, 2, 2]  # a report and a validation each
    assert not (tmp_path / ".partial").exists()


def test_a_run_can_start_from_weights(tmp_path):
    from random_models import random_model

    from sam2_ros.weights.load import save_model

    weights = tmp_path / "start.safetensors"
    save_model(random_model(config_for("nano1"), seed=5), weights)
    settings = NanoConfig(
        (Phase(1, SIZE, frames=1, clips=1, learning_rate=5e-4),), model="nano1", start=str(weights), objects=1,
        validation_clips=1, validation_frames=2, warmup_steps=10**9,
    )  # fmt: skip
    trained = train_nano(settings, tmp_path / "run").state_dict()
    given = random_model(config_for("nano1"), seed=5).state_dict()
    for key in ("no_obj_ptr", "memory_attention.norm.weight", "image_encoder.trunk.pos_embed"):
        torch.testing.assert_close(trained[key], given[key], atol=2e-3, rtol=1e-3)


def test_a_model_with_matching_memory_learns_from_what_fits_and_from_single_frames(tmp_path, capsys):
    """Frozen parameters stay; the prompt encoder learns from single frames alone, with memory frozen."""
    from random_models import random_model

    from sam2_ros.weights.load import save_model

    older = random_model(config_for("nano1"), seed=5)
    save_model(older, tmp_path / "nano1.safetensors")
    phase = Phase(
        1, SIZE, frames=2, clips=1, learning_rate=1e-3, single_frames=2, frozen=("*.trunk.stem.*", "memory_*"),
    )  # fmt: skip
    settings = NanoConfig(
        (phase,), start=str(tmp_path / "nano1.safetensors"), objects=1, grouping_weight=0.0, still_objects=0, warmup_steps=1,
        validation_clips=1, validation_frames=2, ema=0.0,
    )  # fmt: skip
    trained = train_nano(settings, tmp_path / "run").state_dict()
    given = older.state_dict()
    assert "start: " in capsys.readouterr().out
    assert torch.allclose(trained["memory_attention.norm.weight"], given["memory_attention.norm.weight"])
    for learned in ("sam_prompt_encoder.point_embeddings.0.weight", "sam_mask_decoder.iou_token.weight"):
        assert not torch.allclose(trained[learned], given[learned], atol=1e-4), learned
    assert trained["matching.to_s8.weight"].abs().max() > 0  # zeros at first
