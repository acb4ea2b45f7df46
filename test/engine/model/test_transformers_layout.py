# SPDX-License-Identifier: Apache-2.0
"""Renaming between the official key layout and that of transformers, without transformers.

test/parity proves that the names are those of transformers: it loads them strictly.
"""

from __future__ import annotations

import pytest
import torch

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine.config import config_for
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.engine.model.transformers_layout import (
    from_transformers,
    is_transformers_layout,
    to_transformers,
)


def official(name: str, version: str = "2.1") -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return Sam2Model(config_for(name, version)).state_dict()


@pytest.mark.parametrize(("name", "version"), [("tiny", "2.1"), ("tiny", "2.0"), ("nano1", "2.1")])
def test_there_and_back_is_the_identity(name: str, version: str) -> None:
    weights = fill_by_key(official(name, version))
    back = from_transformers(to_transformers(weights))
    assert back.keys() == weights.keys()
    for key, tensor in weights.items():
        assert torch.equal(back[key], tensor), key


@pytest.mark.parametrize("name", ["small", "base_plus", "large"])
def test_every_key_of_the_larger_models_has_a_name(name: str) -> None:
    keys = official(name)
    renamed = to_transformers(keys)
    # four point embeddings become one table; the Fourier matrix is stored twice
    assert len(renamed) == len(keys) - 3 + 1
    assert (
        from_transformers({key: torch.zeros(tensor.shape) for key, tensor in renamed.items()}).keys()
        == keys.keys()
    )


def test_point_embeddings_become_one_table() -> None:
    weights = fill_by_key(official("tiny"))
    table = to_transformers(weights)["prompt_encoder.point_embed.weight"]
    assert table.shape == (4, 256)
    assert torch.equal(table[2:3], weights["sam_prompt_encoder.point_embeddings.2.weight"])


def test_a_file_with_one_copy_of_the_fourier_matrix_is_complete() -> None:
    renamed = to_transformers(fill_by_key(official("tiny")))
    del renamed["prompt_encoder.shared_embedding.positional_embedding"]
    assert from_transformers(renamed).keys() == official("tiny").keys()


def test_two_fourier_matrices_that_differ_are_refused() -> None:
    renamed = to_transformers(fill_by_key(official("tiny")))
    key = "prompt_encoder.shared_embedding.positional_embedding"
    renamed[key] = renamed[key] + 1
    with pytest.raises(ValueError, match="expected two copies of one tensor"):
        from_transformers(renamed)


def test_layouts_are_distinguished() -> None:
    keys = official("tiny")
    assert is_transformers_layout(to_transformers(keys))
    assert not is_transformers_layout(keys)


def test_foreign_keys_are_named() -> None:
    with pytest.raises(ValueError, match=r"image_encoder\.trunk\.blocks\.0\.norm3\.weight"):
        to_transformers({"image_encoder.trunk.blocks.0.norm3.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"vision_encoder\.head\.weight"):
        from_transformers({"vision_encoder.head.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="3 of the 4 point embeddings"):
        to_transformers(
            {f"sam_prompt_encoder.point_embeddings.{i}.weight": torch.zeros(1, 8) for i in range(3)}
        )
