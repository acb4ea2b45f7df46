# SPDX-License-Identifier: Apache-2.0
"""Approximations by settings: off they change nothing; on they save what they promise, and ages of memories stay.

Uses nano1 with random weights: does not measure quality, as `sam2-ros eval` does.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import Prompt, Sam2Model, Tracker, TrackerConfig, config_for
from sam2_ros.engine.compiled import compile_model
from sam2_ros.engine.kernels.rope import axial_rope
from sam2_ros.engine.memory_bank import MemoryBank
from sam2_ros.engine.model.sam2 import MemoryView
from sam2_ros.errors import UserError

BOX = (20.0, 30.0, 90.0, 100.0)


@pytest.fixture(scope="module")
def model() -> Sam2Model:
    model = Sam2Model(config_for("nano1").at_image_size(128)).eval().requires_grad_(False)
    model.load_state_dict(fill_by_key(model.state_dict(), presence_bias=6.0))
    return model


@pytest.fixture
def frames() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (120, 160, 3), np.uint8) for _ in range(12)]


def tracked(model: Sam2Model, frames: list[np.ndarray], **settings: int) -> tuple[Tracker, list[np.ndarray]]:
    """Two objects, prompted on the first frame and the sixth; the second one's logits."""
    tracker = Tracker(model, TrackerConfig(max_objects=2, memory_policy="official", **settings))
    logits = []
    for index, frame in enumerate(frames):
        prompts = [Prompt("first", box=BOX)] if index == 0 else []
        prompts += [Prompt("second", box=BOX)] if index == 5 else []
        logits.append(tracker.step(frame, prompts).objects[-1].logits)
    return tracker, logits


def test_approximations_switched_off_change_nothing(model, frames):
    _, official = tracked(model, frames)
    _, off = tracked(model, frames, memory_pooling=1, memory_every=1)
    np.testing.assert_array_equal(official, off)


@pytest.mark.parametrize("switch", [{"memory_pooling": 2}, {"memory_every": 2}, {"memory_frames": 4}])
def test_each_approximation_changes_the_logits_a_little(model, frames, switch):
    _, official = tracked(model, frames)
    _, approximate = tracked(model, frames, **switch)
    np.testing.assert_array_equal(official[0], approximate[0])  # there is no memory yet
    rms = float(np.sqrt(np.mean(np.square(official[-1]))))
    assert 1e-4 * rms < np.abs(official[-1] - approximate[-1]).max() < 3 * rms


def test_pooling_leaves_a_quarter_of_the_tokens_and_all_pointers(model, frames):
    whole, _ = tracked(model, frames)
    pooled, _ = tracked(model, frames, memory_pooling=2)
    a, b = (tracker.bank.view([0], len(frames)) for tracker in (whole, pooled))
    assert a.spatial_bftc.shape[2] == 4 * b.spatial_bftc.shape[2] == 64
    assert a.pointers_bpd.shape == b.pointers_bpd.shape
    tokens = [model._memory_tokens(view)[0].shape[1] for view in (a, b)]
    pointer_tokens = 2 * a.pointers_bpd.shape[1]
    assert tokens[0] - pointer_tokens == 4 * (tokens[1] - pointer_tokens)
    assert 0.2 < pooled.bank_bytes / whole.bank_bytes < 0.5  # pointers are not pooled, and small


def test_a_pooled_memory_is_the_mean_of_neighbouring_cells(model):
    config = model.config
    memory_1nc = torch.randn(1, config.grid**2, config.mem_dim)
    bank = MemoryBank(config, 1, 1, 6, torch.device("cpu"), torch.float32, pooling=2)
    bank.write_conditioning(0, 0, memory_1nc[0], torch.zeros(config.d_model))
    bank.write_recents([0], 1, memory_1nc, torch.zeros(1, config.d_model))
    grid = memory_1nc.transpose(1, 2).view(1, config.mem_dim, config.grid, config.grid)
    expected = F.avg_pool2d(grid, 2).flatten(2).transpose(1, 2)[0]
    for kept in bank.view([0], 2).spatial_bftc[0]:
        torch.testing.assert_close(kept, expected)


def test_pooled_tokens_are_rotated_to_the_centre_of_their_cells():
    cells, pooled = (axial_rope(side, 64, torch.device("cpu"), pitch=8 // side) for side in (8, 4))
    # Angles below half a turn, which can be averaged.
    angles = torch.atan2(cells[1], cells[0]).view(8, 8, 32)[:, :, 1:16]
    angles = angles.reshape(4, 2, 4, 2, 15)
    slow = slice(3, 15)
    middle = torch.atan2(pooled[1], pooled[0]).view(4, 4, 32)[:, :, 1:16][..., slow]
    torch.testing.assert_close(angles.mean(dim=(1, 3))[..., slow], middle)


def test_pooling_a_memory_without_detail_keeps_what_is_read_from_it(model):
    """If all cells are equal, a pooled token equals them: only the relative weight of pointers differs."""
    config, draw = model.config, torch.Generator().manual_seed(0)
    features = torch.randn(1, config.d_model, config.grid, config.grid, generator=draw)
    flat = torch.randn(1, 1, 1, config.mem_dim, generator=draw)
    none, slots = torch.zeros(1, 0), torch.zeros(1, 1, dtype=torch.long)

    def fused(cells: int) -> torch.Tensor:
        memory = MemoryView(flat.expand(-1, -1, cells, -1), slots, torch.zeros(1, 0, config.d_model), none)
        return model.fuse_memory(features, memory)

    whole, pooled = fused(config.grid**2), fused(config.grid**2 // 4)
    torch.testing.assert_close(pooled, whole, atol=1e-4, rtol=1e-4)


def test_memory_every_second_frame_is_made_half_as_often_and_keeps_its_age(model, frames, monkeypatch):
    made = []
    encode = model.encode_memory
    monkeypatch.setattr(model, "encode_memory", lambda *given: made.append(len(given[1])) or encode(*given))
    tracker, _ = tracked(model, frames, memory_every=2)
    # Frame 0 and 5 are prompts; 2 and 4 have one object, 6, 8 and 10 have two.
    assert made == [1, 1, 1, 1, 2, 2, 2]
    now = len(frames)
    conditioning = model.config.num_maskmem - 1
    for row in (0, 1):  # frames 6, 8 and 10, seen from frame 12
        assert tracker.bank.view([row], now).slots_bf.tolist() == [[conditioning, 5, 3, 1]]
    pointers = tracker.bank.view([0], now).distances_bp[0]
    assert sorted(pointers.int().tolist()) == list(range(1, 13))  # of every frame


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"memory_pooling": 3}, r"memory_pooling = 3: expected 1 \(exact\) or 2"),
        ({"memory_every": 0}, r"memory_every = 0: expected 1 \(exact\)..6"),
        ({"memory_every": 3, "memory_frames": 3}, "expected 1 .exact...2, one less than memory_frames"),
    ],
)
def test_values_out_of_range_are_one_clear_line(settings, words):
    with pytest.raises(ValueError, match=words):
        TrackerConfig(**settings)


@pytest.mark.parametrize("settings", [{"memory_pooling": 2}, {"memory_every": 2}])
def test_approximations_are_not_compiled(model, settings, tmp_path):
    with pytest.raises(UserError, match="expected 1 and 1, as only a full memory bank can be compiled"):
        compile_model(model, "max", TrackerConfig(**settings), tmp_path)
