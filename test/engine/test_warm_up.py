# SPDX-License-Identifier: Apache-2.0
"""The warm-up runs all stages that a stream needs, with a full bank, and has no side effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from random_models import random_model

from sam2_ros.engine import Prompt, Sam2Model, Tracker, TrackerConfig
from sam2_ros.engine.config import NANO1
from sam2_ros.engine.model.sam2 import MemoryView
from sam2_ros.engine.warm_up import warm_up


@pytest.fixture
def model() -> Sam2Model:
    return random_model(NANO1.at_image_size(128), seed=2)


@pytest.fixture
def called(model: Sam2Model, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Every call of the model: its name, and the memories given to `fuse_memory`."""
    calls: list[tuple[str, Any]] = []

    def noting(name: str) -> Callable[..., Any]:
        call = getattr(model, name)

        def noted(*inputs: Any, **more: Any) -> Any:
            calls.append((name, next((one for one in inputs if isinstance(one, MemoryView)), None)))
            return call(*inputs, **more)

        return noted

    for name in ("encode_image", "decode", "predict", "encode_memory", "fuse_memory"):
        monkeypatch.setattr(model, name, noting(name))
    return calls


def test_every_stage_runs_prompted_and_tracked_and_the_last_frame_has_a_full_bank(
    model: Sam2Model, called: list[tuple[str, Any]]
) -> None:
    warm_up(model, TrackerConfig())
    names = [name for name, _ in called]
    prompted = ["encode_image", "decode", "predict", "encode_memory"]
    tracked = ["encode_image", "fuse_memory", "decode", "predict", "encode_memory"]
    assert names == prompted + tracked + tracked
    views = [view for _, view in called if view is not None]
    assert [view.spatial_bftc.shape[1] for view in views] == [1, 1 + 6]
    assert [view.pointers_bpd.shape[1] for view in views] == [1, model.config.max_pointers]


@pytest.mark.parametrize(
    "settings",
    [
        {"max_objects": 1, "memory_frames": 1, "max_conditioning_frames": 1},
        {"memory_pooling": 2, "memory_every": 3},
        {"numerics": "official_vos", "clip_frames": 5, "max_conditioning_frames": 1},
        {"max_objects": 64, "present_off": 1.0, "non_overlap": True},
    ],
)
def test_any_tracker_can_be_warmed_up_for(model: Sam2Model, settings: dict[str, Any]) -> None:
    warm_up(model, TrackerConfig(**settings))


def test_a_stream_is_the_same_with_and_without(model: Sam2Model) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 96, 128, 3), np.uint8)
    state = {name: value.clone() for name, value in model.state_dict().items()}

    def logits() -> list[np.ndarray]:
        tracker = Tracker(model, TrackerConfig(max_objects=2, memory_policy="official"))
        prompts = [Prompt("a", box=(10, 10, 60, 60)), Prompt("b", box=(50, 20, 120, 90))]
        results = [tracker.step(image, prompts if n == 0 else ()) for n, image in enumerate(images)]
        return [one.logits for result in results for one in result.objects]

    before = logits()
    warm_up(model)
    after = logits()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
