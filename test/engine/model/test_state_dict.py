# SPDX-License-Identifier: Apache-2.0
"""Recognising a model by its keys, and strict loading.

Knows keys and shapes. Reads no file.
"""

from __future__ import annotations

import pytest
import torch

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine.config import config_for
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.engine.model.state_dict import load_strictly, recognise
from sam2_ros.errors import UserError

NAMES = ("nano", "nano1", "tiny", "small", "base_plus", "large")


def on_meta(name: str, version: str = "2.1") -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return Sam2Model(config_for(name, version)).state_dict()


@pytest.fixture(scope="module")
def nano() -> dict[str, torch.Tensor]:
    return fill_by_key(on_meta("nano"))


@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("name", NAMES)
def test_size_and_version_show_in_the_keys(name: str, version: str) -> None:
    found = recognise(on_meta(name, version))
    assert (found.name, found.version) == (name, version)


def test_something_else_is_not_taken_for_a_model() -> None:
    with pytest.raises(UserError, match=r"not a SAM 2 state dict.*first: 'conv1\.weight'") as raised:
        recognise({"conv1.weight": torch.zeros(1)})
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="nothing"):
        recognise({})


def test_an_unknown_size_is_answered_with_the_known_ones() -> None:
    odd = dict(on_meta("tiny"))
    odd["image_encoder.trunk.patch_embed.proj.weight"] = torch.empty(100, 3, 7, 7, device="meta")
    with pytest.raises(UserError, match=r"100 channels and 12 blocks: .*tiny 96 & 12.*large 144 & 48"):
        recognise(odd)


def test_loading_fills_every_tensor(nano: dict[str, torch.Tensor]) -> None:
    model = Sam2Model(config_for("nano"))
    load_strictly(model, nano)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, nano[key]), key


def refused(state: dict[str, torch.Tensor]) -> str:
    model = Sam2Model(config_for("nano"))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(UserError) as raised:
        load_strictly(model, state)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_a_missing_tensor_is_refused(nano: dict[str, torch.Tensor]) -> None:
    state = {key: tensor for key, tensor in nano.items() if key != "memory_attention.norm.bias"}
    assert "1 missing (memory_attention.norm.bias)" in refused(state)


def test_an_unexpected_tensor_is_refused(nano: dict[str, torch.Tensor]) -> None:
    assert "1 unexpected (head.weight)" in refused(nano | {"head.weight": torch.zeros(1)})


def test_a_tensor_of_another_shape_is_refused(nano: dict[str, torch.Tensor]) -> None:
    message = refused(nano | {"maskmem_tpos_enc": torch.zeros(5, 1, 1, 64)})
    assert "maskmem_tpos_enc is [5, 1, 1, 64], expected [7, 1, 1, 64]" in message


def test_a_long_list_is_cut_short_but_counted(nano: dict[str, torch.Tensor]) -> None:
    kept = {key: tensor for key, tensor in nano.items() if not key.startswith("memory_attention.")}
    gone = len(nano) - len(kept)
    message = refused(kept)
    assert f"{gone} missing" in message
    assert "..." in message
    assert len(message) < 400


def test_a_2_0_checkpoint_does_not_fit_a_2_1_model(nano: dict[str, torch.Tensor]) -> None:
    older = fill_by_key(on_meta("nano", "2.0"))
    assert "3 missing" in refused(older)
