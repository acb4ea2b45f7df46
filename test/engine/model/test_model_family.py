# SPDX-License-Identifier: Apache-2.0
"""Sizes of the models: parameters, keys and shapes of the official checkpoints, without weights.

Everything is built on the meta device, where even large needs no memory.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sam2_ros.engine.config import LARGE, NANO, OFFICIAL, config_for
from sam2_ros.engine.model.sam2 import Sam2Model

# name: parameters of 2.1, of 2.0, state-dict keys of 2.1, of 2.0 (counted in the official repository)
TABLE = {
    "tiny": (38_962_498, 38_945_986, 471, 468),
    "small": (46_060_354, 46_043_842, 519, 516),
    "base_plus": (80_850_178, 80_833_666, 615, 612),
    "large": (224_446_642, 224_430_130, 903, 900),
}
IMAGE_ENCODER_MILLIONS = {"tiny": 27.22, "small": 34.32, "base_plus": 69.11, "large": 212.70}


def on_meta(name: str, version: str = "2.1") -> Sam2Model:
    with torch.device("meta"):
        return Sam2Model(config_for(name, version))


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_keys_are_the_official_ones(name: str) -> None:
    parameters_21, parameters_20, keys_21, keys_20 = TABLE[name]
    newer, older = on_meta(name, "2.1"), on_meta(name, "2.0")
    assert newer.parameter_count == parameters_21
    assert older.parameter_count == parameters_20
    assert len(newer.state_dict()) == keys_21
    assert len(older.state_dict()) == keys_20


@pytest.mark.parametrize("name", TABLE)
def test_the_image_encoder_has_its_share(name: str) -> None:
    encoder = on_meta(name).image_encoder
    millions = sum(p.numel() for p in encoder.parameters()) / 1e6
    assert millions == pytest.approx(IMAGE_ENCODER_MILLIONS[name], abs=0.005)


def test_the_other_boxes_have_theirs() -> None:
    model = on_meta("tiny")
    millions = {
        name: sum(p.numel() for p in getattr(model, name).parameters()) / 1e6
        for name in (
            "memory_attention",
            "memory_encoder",
            "sam_mask_decoder",
            "sam_prompt_encoder",
            "obj_ptr_proj",
        )
    }
    assert millions["memory_attention"] == pytest.approx(5.92, abs=0.01)
    assert millions["memory_encoder"] == pytest.approx(1.39, abs=0.01)
    assert millions["sam_mask_decoder"] == pytest.approx(4.22, abs=0.01)
    assert millions["sam_prompt_encoder"] == pytest.approx(0.006, abs=0.001)
    assert millions["obj_ptr_proj"] == pytest.approx(0.20, abs=0.005)


def test_version_2_1_adds_exactly_three_tensors() -> None:
    newer, older = on_meta("tiny", "2.1").state_dict(), on_meta("tiny", "2.0").state_dict()
    added = {key: list(newer[key].shape) for key in newer.keys() - older.keys()}
    assert added == {
        "no_obj_embed_spatial": [1, 64],
        "obj_ptr_tpos_proj.weight": [64, 256],
        "obj_ptr_tpos_proj.bias": [64],
    }
    assert older.keys() <= newer.keys()


def test_shapes_of_the_tables_at_the_top() -> None:
    shapes = {key: list(tensor.shape) for key, tensor in on_meta("tiny").state_dict().items()}
    assert shapes["maskmem_tpos_enc"] == [7, 1, 1, 64]
    assert shapes["no_mem_embed"] == shapes["no_mem_pos_enc"] == [1, 1, 256]
    assert shapes["no_obj_ptr"] == [1, 256]
    assert shapes["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] == [2, 128]
    assert shapes["memory_attention.layers.3.cross_attn_image.k_proj.weight"] == [256, 64]
    # The deepest level comes first.
    assert shapes["image_encoder.neck.convs.0.conv.weight"] == [256, 768, 1, 1]
    assert shapes["memory_encoder.mask_downsampler.encoder.12.weight"] == [256, 256, 1, 1]


def test_channels_from_shallow_to_deep() -> None:
    assert OFFICIAL["base_plus"].encoder.channels == (112, 224, 448, 896)
    assert LARGE.encoder.channels == (144, 288, 576, 1152)


def test_nano_is_a_few_million() -> None:
    assert on_meta(NANO.name).parameter_count < 8_000_000


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"version": "3"}, "'2.0' or '2.1'"),
        ({"image_size": 100}, "multiple of 32"),
        ({"mem_dim": 60}, "multiple of"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config_for("tiny"), **kwargs)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="nano, nano1, tiny, small, base_plus, large"):
        config_for("huge")
