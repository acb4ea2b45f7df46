# SPDX-License-Identifier: Apache-2.0
"""The benchmark on nano at a small size: the report is complete and consistent, and counts what runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from random_models import random_model

from sam2_ros.bench import timing
from sam2_ros.bench.launches import OPERATIONS, count_launches, is_view
from sam2_ros.bench.machine import product_peak_flops
from sam2_ros.bench.run import BenchConfig, run_bench
from sam2_ros.engine import Prompt, Tracker, TrackerConfig, config_for
from sam2_ros.errors import UserError
from sam2_ros.eval.memory_options import MemoryOptions
from sam2_ros.weights.load import save_model
from sam2_ros.weights.open_model import ModelOptions

pytestmark = pytest.mark.long

SMALL = {
    "objects": (2,),
    "frames": 2,
    "height_px": 64,
    "width_px": 96,
    "model_options": ModelOptions(precision="fp32", image_size=128),
}
STAGES = [
    "preprocess", "encode", "matching", "memory_attention", "decode", "memory_write", "postprocess", "total",
]  # fmt: skip


@pytest.fixture(scope="module")
def report() -> dict:
    steps: list[tuple[int, int]] = []
    config = BenchConfig(**SMALL, conditioning=(1, 4))
    report = run_bench(config, lambda done, total: steps.append((done, total)))
    assert steps == [(step, 44) for step in range(1, 45)]  # two banks, 20 + 2 frames each
    return json.loads(json.dumps(report))


def test_the_report_says_what_ran_and_on_what(report: dict) -> None:
    assert (report["model"], report["image_size"], report["weights"]) == ("nano", 128, "nano")
    memory = {"memory_frames": 7, "memory_pooling": 1, "memory_every": 1, "policies": [], "conditioning": 1}
    assert report["memory"] == memory
    assert report["memory_bytes"] > 0
    assert isinstance(report["memory_growth_bytes_per_frame"], int)
    timed = report["objects"]["2"]
    assert list(timed["stages_ms"]) == STAGES
    stages = sum(timed["stages_ms"][stage] for stage in STAGES[:-1])
    assert stages == pytest.approx(timed["stages_ms"]["total"], rel=0.5)
    assert timed["launches"][OPERATIONS] > 200


def test_share_and_floor_follow_from_the_peak_and_the_count(report: dict) -> None:
    timed, peak = report["objects"]["2"], report["peak_gflops"]
    share = timed["gflop"]["official"] / (peak * timed["frame_ms"]["p50"] * 1e-3)
    assert timed["peak_share"] == pytest.approx(share, rel=0.02, abs=1e-4)
    assert timed["floor_ms"] == pytest.approx(timed["gflop"]["rewritten"] / peak * 1e3, rel=0.02)
    assert timed["gflop"]["rewritten"] < timed["gflop"]["official"]


def test_both_banks_are_reported(report: dict) -> None:
    one, four = report["objects"]["2"], report["objects_by_conditioning"]["4"]["2"]
    # Of each prompted frame: a spatial memory, a pointer, and keys and a mask for the matching memory, which also has
    # two recent frames. Each has a frame number, and an age, an id or a flag.
    spatial, pointer, matched = 8 * 8 * 64 * 2 + 16, 128 * 4 + 16, 16 * 16 * (64 + 1) * 2 + 4 + 16
    assert one["bank_bytes_per_object"] == spatial + pointer + (1 + 2) * matched + 8
    assert four["bank_bytes_per_object"] - one["bank_bytes_per_object"] == 3 * (spatial + pointer + matched)
    assert four["gflop"]["official"] > one["gflop"]["official"]


def test_less_memory_is_less_work(tmp_path: Path) -> None:
    options = MemoryOptions(memory_frames=7, memory_pooling=2, memory_every=2)
    save_model(random_model(config_for("nano1")), tmp_path / "nano1.safetensors")
    settings = SMALL | {
        "model_options": replace(SMALL["model_options"], model=str(tmp_path / "nano1.safetensors"))
    }
    small = run_bench(BenchConfig(**settings, memory=options))
    memory = {"memory_frames": 7, "memory_pooling": 2, "memory_every": 2, "policies": [], "conditioning": 1}
    assert small["memory"] == memory
    whole = run_bench(BenchConfig(**settings))
    a, b = whole["objects"]["2"], small["objects"]["2"]
    assert b["gflop"]["official"] < a["gflop"]["official"]
    assert b["bank_bytes_per_object"] < 0.5 * a["bank_bytes_per_object"]


def test_a_bank_that_changes_its_size_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter(range(1000))
    monkeypatch.setattr(timing.Tracker, "bank_bytes", property(lambda tracker: next(sizes)))
    with pytest.raises(
        RuntimeError, match=r"frame 0: the memory bank has .* bytes, 0 expected as at the start"
    ):
        run_bench(BenchConfig(**SMALL))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"objects": ()}, "numbers from 1 to 64 expected"),
        ({"frames": 1}, "at least 2 expected"),
        ({"conditioning": (5,)}, "numbers from 1 to 4 expected"),
        ({"conditioning": ()}, "numbers from 1 to 4 expected"),
    ],
)
def test_what_cannot_be_timed_is_one_clear_line(given: dict, words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        BenchConfig(**given)
    assert "\n" not in str(raised.value)


def test_memory_options_are_checked_and_named() -> None:
    with pytest.raises(UserError, match="memory_pooling = 4"):
        MemoryOptions(memory_pooling=4)
    assert MemoryOptions().words() == ""
    assert MemoryOptions(4, 1, 3).words() == "memory frames 4, memory every 3"
    within = MemoryOptions(4, 2, 3).within(TrackerConfig(max_objects=3, numerics="official_vos"))
    assert (within.memory_frames, within.memory_pooling, within.memory_every) == (4, 2, 3)
    assert (within.max_objects, within.numerics, within.memory_policy) == (3, "official_vos", "official")


def test_launches_are_operations_that_are_not_views() -> None:
    x = torch.ones(4, 6)

    def work() -> torch.Tensor:
        rows = x.view(2, 12).t()[1:]  # three views
        return (rows + 1).relu_()  # two operations

    assert count_launches(work, torch.device("cpu")) == (2, OPERATIONS)
    assert is_view(torch.ops.aten.expand.default)
    assert not is_view(torch.ops.aten.add_.Tensor)


def test_the_peak_is_in_operations_a_second() -> None:
    slow, fast = 1e8, 1e17
    assert slow < product_peak_flops(torch.device("cpu"), torch.float32) < fast


def test_objects_are_not_forgotten_while_they_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if nano does not find an object for minutes, it stays in the tracker."""
    trackers: list[Tracker] = []
    step = Tracker.step

    def late(tracker: Tracker, image, prompts: tuple[Prompt, ...] = ()):
        trackers.append(tracker)
        return step(tracker, image, prompts, stamp_s=100.0 * len(trackers))

    monkeypatch.setattr(Tracker, "step", late)
    run_bench(BenchConfig(**SMALL))
    assert len(trackers[-1].object_ids) == 2
