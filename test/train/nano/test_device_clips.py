# SPDX-License-Identifier: Apache-2.0
"""Batches drawn on the training device equal those drawn by workers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sam2_ros.synthetic.torch_renderer.device_clip import DeviceClip
from sam2_ros.train.data.batch import TrainingClip, make_batch
from sam2_ros.train.nano.clips import ClipMaker, clip_batches, variation
from sam2_ros.train.nano.device_clips import on_device, stack_on_device, vary
from sam2_ros.train.nano.loop import train_nano
from sam2_ros.train.nano.recipe import NanoConfig, Phase

pytestmark = pytest.mark.long

CPU = torch.device("cpu")
SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture(scope="module")
def drawn() -> TrainingClip:
    """Frames and masks in the format of a worker."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    masks = np.zeros((3, 2, 32, 32), bool)
    masks[:, 0, 3:20, 5:17] = True
    masks[:, 1, 25:27, 20:22] = True  # a quarter of a cell
    return TrainingClip(frames, masks)


def _uploaded(clip: TrainingClip) -> DeviceClip:
    frames, masks, _ = clip
    return DeviceClip(torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(masks))


def test_batches_of_workers_and_of_the_device_are_equal(drawn):
    expected, batch = make_batch([drawn, drawn]), stack_on_device([_uploaded(drawn)] * 2)
    assert torch.equal(batch.images_bt3hw, expected.images_bt3hw)
    assert batch.images_bt3hw.stride() == expected.images_bt3hw.stride()
    assert torch.equal(batch.masks_tmhw, expected.masks_tmhw)
    assert torch.equal(batch.clip_m, expected.clip_m)
    assert torch.equal(batch.cover_tmhw, expected.cover_tmhw)
    assert torch.equal(batch.visible_tm, expected.visible_tm)


def test_variations_of_workers_and_of_the_device_are_equal(drawn):
    for seed in range(12):
        frames, masks, _ = variation(drawn, np.random.default_rng(seed))
        varied = vary(_uploaded(drawn), np.random.default_rng(seed))
        assert np.array_equal(varied.frames_t3hw.permute(0, 2, 3, 1).numpy(), frames)
        assert np.array_equal(varied.masks_tnhw.numpy(), masks)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_workers_that_send_descriptions_give_the_same_batches(device):
    pytest.importorskip("skimage", reason="training clips use the pictures that come with scikit-image")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    how = (76, 2, 96, 2, iter([2, 2]), 1, 2)
    reference = list(clip_batches(*how[:4], iter([2, 2]), *how[5:]))
    batches = list(clip_batches(*how, on_device(torch.device(device))))
    assert len(batches) == len(reference) == 2
    for batch, expected in zip(batches, reference, strict=True):
        assert batch.images_bt3hw.device.type == batch.cover_tmhw.device.type == device
        assert (batch.masks_tmhw.cpu() != expected.masks_tmhw).float().mean() < 0.002
        apart = (batch.images_bt3hw.cpu() - expected.images_bt3hw).abs().mean()  # noise of up to 9 of 255
        assert apart < 0.25
        assert (batch.cover_tmhw.cpu() - expected.cover_tmhw).abs().mean() < 0.002


def test_the_cost_of_a_clip_says_what_a_worker_saves_and_sends():
    pytest.importorskip("skimage", reason="training clips use the pictures that come with scikit-image")
    sys.path.insert(0, str(SCRIPTS))
    try:
        from clip_cost import clip_cost
    finally:
        sys.path.pop(0)
    cost = clip_cost(1, 64, 2, 1, CPU)
    assert cost["worker_leaves_drawing_ms"] > 0
    assert cost["worker_draws_ms"] > 0
    assert cost["device_draws_ms"] > 0
    assert 0.02 < cost["sent_mb"] < 3


@pytest.mark.gpu
def test_a_run_on_a_gpu_draws_its_clips_there(tmp_path, monkeypatch):
    pytest.importorskip("skimage", reason="training clips use the pictures that come with scikit-image")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    drawn_on = []

    def watched(device: torch.device) -> ClipMaker:
        drawn_on.append(device)
        return on_device(device)

    monkeypatch.setattr("sam2_ros.train.nano.loop.on_device", watched)
    phase = Phase(2, 128, frames=2, clips=2, learning_rate=1e-3)
    config = NanoConfig((phase,), objects=2, validation_clips=1, validation_frames=2, log_every=1)
    train_nano(config, tmp_path, torch.bfloat16, torch.device("cuda"))
    assert [device.type for device in drawn_on] == ["cuda"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
