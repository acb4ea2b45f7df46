# SPDX-License-Identifier: Apache-2.0
"""An image encoder of another kind, known only by its model in FAMILY: recognised, used, counted, trained."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from random_models import random_model
from torch import nn

from sam2_ros.bench.against.reference import hiera_of
from sam2_ros.bench.flops import BankSize, official_flops, rewritten_flops
from sam2_ros.engine import ImageSegmenter, Prompt, Tracker, TrackerConfig
from sam2_ros.engine.config import FAMILY, NANO1, ModelConfig
from sam2_ros.engine.model.attention_shapes import large_attentions
from sam2_ros.engine.model.image_encoder import PREFIX, EncoderConfig, ImageEncoder, linear_flops
from sam2_ros.errors import UserError
from sam2_ros.train.finetune.parameters import freeze, make_optimiser, rates_of
from sam2_ros.train.nano.initial_values import initialise
from sam2_ros.train.train_config import FinetuneConfig
from sam2_ros.weights.load import load_model, save_model


@dataclass(frozen=True)
class PoolingConfig(EncoderConfig):
    """One convolution per stride, with average pooling in between."""

    width: int

    @property
    def channels(self) -> tuple[int, int, int, int]:
        return (self.width, self.width, 2 * self.width, 2 * self.width)

    def build(self) -> Pooling:
        return Pooling(self)

    def matches(self, state: Mapping[str, torch.Tensor]) -> bool:
        first = state.get(PREFIX + "steps.0.weight")
        return first is not None and first.shape[0] == self.width

    def flops(self, image_size: int, padded: bool = True) -> int:
        widths = (3, *self.channels)
        return sum(
            linear_flops((image_size // stride) ** 2, c_in, c_out)
            for stride, c_in, c_out in zip((4, 8, 16, 32), widths, widths[1:], strict=False)
        )


class Pooling(ImageEncoder):
    def __init__(self, config: PoolingConfig) -> None:
        super().__init__()
        widths = (3, *config.channels)
        self.steps = nn.ModuleList(nn.Conv2d(c_in, c_out, 1) for c_in, c_out in itertools.pairwise(widths))
        self.prepared_for = 0

    @property
    def layer_count(self) -> int:
        return len(self.steps)

    def layer_of(self, name: str) -> int | None:
        return int(name.split(".")[1])

    def prepare(self, image_size: int) -> None:
        self.prepared_for = image_size

    def forward(self, image_b3hw: torch.Tensor) -> list[torch.Tensor]:
        x, maps = nn.functional.avg_pool2d(image_b3hw, 2), []
        for step in self.steps:
            x = step(nn.functional.avg_pool2d(x, 2)).relu()
            maps.append(x)
        return maps


POOLING = replace(NANO1, name="pooling", encoder=PoolingConfig(16), image_size=128)


@pytest.fixture(autouse=True)
def member(monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    monkeypatch.setitem(FAMILY, "pooling", POOLING)
    return POOLING


def test_it_is_recognised_prepared_and_tracked_with(tmp_path) -> None:
    save_model(random_model(POOLING), tmp_path / "pooling.safetensors")
    model = load_model(tmp_path / "pooling.safetensors", "cpu", "fp32")
    assert (model.config.name, model.trunk.prepared_for, model.unprepared.trunk.prepared_for) == (
        "pooling",
        128,
        0,
    )
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    answers = []
    for each in (model, model.unprepared):
        tracker = Tracker(each, TrackerConfig(memory_policy="official"))
        results = [tracker.step(image, [Prompt("a", box=(5, 5, 40, 40))] if n == 0 else []) for n in range(6)]
        answers.append(np.stack([result.objects[0].logits for result in results]))
    scale = np.sqrt(np.mean(answers[1] ** 2))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-3 * scale)
    segmenter = ImageSegmenter(model)
    segmenter.set_image(image)


def test_its_operations_are_counted_and_its_large_attentions_listed() -> None:
    flops = official_flops(POOLING, BankSize())
    assert flops.encoder > POOLING.encoder.flops(128) > 0
    assert rewritten_flops(POOLING, BankSize()).encoder < flops.encoder
    assert {shape.channels for shape in large_attentions(POOLING.at_image_size(512))} == {128}
    with pytest.raises(UserError, match="pooling has an image encoder other than Hiera"):
        hiera_of(POOLING)


def test_it_starts_and_learns_with_a_rate_for_each_layer() -> None:
    model = initialise(random_model(POOLING))
    freeze(model, encoder=False)
    config = FinetuneConfig(data=("clips",), out="run", model="pooling")
    optimiser = make_optimiser(model, [], config, rates_of(config, "pooling"))
    of = {id(p): group["peak"] for group in optimiser.param_groups for p in group["params"]}
    steps = model.trunk.get_submodule("steps")
    peaks = [of[id(step.weight)] for step in steps]
    assert [later / earlier for earlier, later in itertools.pairwise(peaks)] == pytest.approx([1 / 0.8] * 3)
