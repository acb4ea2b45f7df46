# SPDX-License-Identifier: Apache-2.0
"""Loading checkpoints in every layout, and the table of known models."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import Prompt, Tracker
from sam2_ros.engine.config import config_for
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.engine.model.transformers_layout import to_transformers
from sam2_ros.errors import CheckpointError
from sam2_ros.weights.catalogue import list_models
from sam2_ros.weights.load import load_model


def official_state(name: str, version: str) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = Sam2Model(config_for(name, version)).state_dict()
    return fill_by_key(shapes)


@pytest.mark.parametrize("version", ["2.1", "2.0"])
def test_every_layout_holds_the_same_model(version: str, tmp_path: Path) -> None:
    state = official_state("nano1", version)
    torch.save({"model": state}, tmp_path / "official.pt")
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "official.safetensors")
    # Shared tensors are saved once: files of transformers have one of the two copies of the Fourier matrix.
    renamed = {key: value.clone() for key, value in to_transformers(state).items()}
    save_file(renamed, tmp_path / "transformers.safetensors")
    for name in ("official.pt", "official.safetensors", "transformers.safetensors"):
        model = load_model(tmp_path / name, device="cpu", precision="fp32")
        assert (model.config.name, model.config.version) == ("nano1", version)
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, state[key]), f"{key} of {name}"


def test_a_model_can_have_another_image_size(tmp_path: Path) -> None:
    torch.save({"model": official_state("nano1", "2.1")}, tmp_path / "nano.pt")
    model = load_model(tmp_path / "nano.pt", device="cpu", image_size=128)
    result = Tracker(model).step(np.zeros((90, 120, 3), np.uint8), [Prompt("thing", box=(10, 10, 60, 60))])
    assert result.objects[0].logits.shape == (32, 32)
    assert result.objects[0].mask.shape == (90, 120)


@pytest.mark.parametrize(("size", "instead"), [(100, 96), (-64, 32), (1, 32)])
def test_a_size_that_does_not_divide_is_refused(size: int, instead: int) -> None:
    with pytest.raises(CheckpointError, match=f"image size {size}: .* multiple of 32, such as {instead}$"):
        load_model("nano", image_size=size)


def test_a_key_that_is_in_no_layout_is_named(tmp_path: Path) -> None:
    renamed = to_transformers(official_state("nano1", "2.1"))
    renamed["vision_encoder.surprise"] = torch.zeros(1)
    save_file({key: value.clone() for key, value in renamed.items()}, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match=r"vision_encoder\.surprise") as raised:
        load_model(tmp_path / "odd.safetensors")
    assert "\n" not in str(raised.value)


def test_the_table_says_what_the_models_are() -> None:
    models = list_models()
    official = [info for info in models if info.url]
    assert [info.name for info in models if not info.url] == ["nano"]
    assert len(official) == 8
    for info in models:
        with torch.device("meta"):
            model = Sam2Model(config_for(info.name.removesuffix("-2.0"), info.version))
        assert info.parameters == sum(parameter.numel() for parameter in model.parameters())
    for info in official:
        size = info.name.removesuffix("-2.0")
        family = "sam2.1" if info.version == "2.1" else "sam2"
        assert info.file == f"{family}_hiera_{size}.pt" == info.url.rsplit("/", 1)[1]
        assert info.hub == f"facebook/{family}-hiera-{size.replace('_', '-')}"
        assert re.fullmatch(r"[0-9a-f]{64}", info.sha256)
        # fp32 and little else
        assert info.size_bytes == 0 or 4 * info.parameters < info.size_bytes < 4 * info.parameters + 400_000
    assert len({info.sha256 for info in official}) == 8
