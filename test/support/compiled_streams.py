# SPDX-License-Identifier: Apache-2.0
"""For tests of compiled models and CUDA graphs: the smallest model, and a stream with all kinds of events.

Knows no device.
"""

from __future__ import annotations

import numpy as np
import torch
from random_models import random_model

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import ModelConfig, Prompt, Tracker, TrackerConfig
from sam2_ros.engine.model.hiera import HieraConfig

# Every part of the model once, so that compiling it takes seconds.
SMALLEST = ModelConfig(
    "smallest",
    HieraConfig(16, 1, (1, 1, 1, 1), (3,), (8, 4, 4, 2), (4, 4)),
    image_size=64,
    d_model=32,
    mem_dim=16,
    memory_attention_layers=1,
    memory_attention_ffn=32,
    mask_decoder_heads=2,
    mask_decoder_ffn=32,
    head_hidden=32,
)


def smallest():
    model = random_model(SMALLEST)
    model.load_state_dict(fill_by_key(model.state_dict(), presence_bias=6.0))
    return model


def compiled_graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def follow(model, config: TrackerConfig, frames: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Logits of objects that are added one after another, corrected, lose their recent memories, and are removed."""
    tracker, answers = Tracker(model, config), []
    for index, frame in enumerate(frames):
        prompts = []
        if index % 3 == 0 and index // 3 < config.max_objects:
            prompts = [Prompt(f"object {index // 3}", box=(5 + index, 5, 30 + index, 40))]
        if index == len(frames) - 10:
            prompts = [Prompt("object 0", points=np.array([[20.0, 20.0]]))]
        if index == len(frames) - 6:
            tracker.discontinuity()
        if index == len(frames) - 3 and config.max_objects > 1:
            tracker.remove("object 0")
        answers.append({obj.id: obj.logits for obj in tracker.step(frame, prompts).objects})
    return answers


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, 48, 64, 3), dtype=np.uint8)


def largest_difference(ours, theirs) -> float:
    assert [answer.keys() for answer in ours] == [answer.keys() for answer in theirs]
    return max(np.abs(a[id] - b[id]).max() for a, b in zip(ours, theirs, strict=True) for id in a)
