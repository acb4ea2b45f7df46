# SPDX-License-Identifier: Apache-2.0
"""A prepared model gives the results of plain operators, is saved unprepared, and each rewrite has an effect."""

from __future__ import annotations

import pytest
import torch

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import config_for
from sam2_ros.engine.kernels import attention
from sam2_ros.engine.kernels.attention import KEYS, attend, attend_by_rows, attend_in_tiles
from sam2_ros.engine.kernels.layers import plain_operators
from sam2_ros.engine.kernels.prepare import prepare
from sam2_ros.engine.kernels.rope import (
    Rope,
    axial_rope,
    half_split_order,
    rotate,
    rotate_channels_first_,
    rotate_half_split,
    rotate_half_split_,
)
from sam2_ros.engine.model.sam2 import MemoryView, Sam2Model
from sam2_ros.weights.load import load_model, save_model


@pytest.fixture(scope="module")
def tiny() -> Sam2Model:
    model = Sam2Model(config_for("tiny").at_image_size(128)).eval().requires_grad_(False)
    model.load_state_dict(fill_by_key(model.state_dict()))
    return model


def fused(model: Sam2Model, objects: int = 3, pooling: int = 1, each: bool = False) -> torch.Tensor:
    """Features of one frame after memory attention: three objects with memories of five frames and three pointers."""
    config, draw = model.config, torch.Generator().manual_seed(1)
    features = torch.randn(1, config.d_model, config.grid, config.grid, generator=draw)
    memory = MemoryView(
        torch.randn(objects, 5, (config.grid // pooling) ** 2, config.mem_dim, generator=draw),
        torch.tensor([[config.num_maskmem - 1, 3, 2, 1, 0]]).expand(objects, -1),
        torch.randn(objects, 3, config.d_model, generator=draw),
        torch.tensor([[5.0, 2.0, 1.0]]).expand(objects, -1),
    )
    with torch.inference_mode():
        return model.fuse_memory(features.expand(objects if each else 1, -1, -1, -1), memory)


def by_plain_operators(model: Sam2Model, pooling: int = 1) -> torch.Tensor:
    """As in the official code, each object on its own."""
    with plain_operators():
        return fused(model, pooling=pooling, each=True)


def largest_error(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    return (found - expected).abs().max() / expected.square().mean().sqrt()


@pytest.mark.parametrize("half_split", [False, True])
@pytest.mark.parametrize("narrow_values", [False, True])
@pytest.mark.parametrize("pooling", [1, 2])
@pytest.mark.parametrize("has_kernels", [False, True])
def test_each_way_to_prepare_gives_what_the_official_arithmetic_gives(
    tiny: Sam2Model,
    half_split: bool,
    narrow_values: bool,
    pooling: int,
    has_kernels: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not has_kernels:
        monkeypatch.setattr(attention, "cpu_kernels", lambda: None)
    official = by_plain_operators(tiny, pooling)
    prepared = prepare(tiny, half_split, narrow_values)
    assert prepared.memory_attention.half_split == half_split
    found = fused(prepared, pooling=pooling)
    assert largest_error(found, official) < 2e-5
    assert not torch.equal(found[0], found[1])  # objects are distinguished
    with plain_operators():
        assert largest_error(fused(prepared, pooling=pooling), official) < 2e-5


def test_the_default_preparation_gives_it_too(tiny: Sam2Model) -> None:
    assert largest_error(fused(prepare(tiny)), by_plain_operators(tiny)) < 2e-5
    assert largest_error(fused(tiny), by_plain_operators(tiny)) < 2e-5


def test_merged_convolutions_equal_the_two_before(tiny: Sam2Model) -> None:
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        official, folded = tiny.encode_image(image), prepare(tiny).encode_image(image)
    for level, expected in zip(folded[:3], official[:3], strict=True):
        assert level.shape == expected.shape
        assert largest_error(level, expected) < 2e-5
    assert not torch.equal(folded.s4, official.s4)  # another order of the same sums
    assert torch.equal(folded.s16, official.s16)


def test_self_attention_of_shared_features_is_computed_once(tiny: Sam2Model) -> None:
    rows = []
    watch = tiny.memory_attention.layers[0].self_attn.register_forward_hook(  # type: ignore[union-attr,operator]
        lambda module, inputs, output: rows.append(len(output))
    )
    each = fused(tiny, each=True)
    shared = fused(tiny)
    watch.remove()
    assert rows == [3, 1]
    assert largest_error(shared, each) < 2e-5


def test_a_prepared_model_is_a_copy_that_is_saved_as_what_it_was(tiny: Sam2Model, tmp_path) -> None:
    before = {key: tensor.clone() for key, tensor in tiny.state_dict().items()}
    prepared = prepare(tiny)
    assert prepared.unprepared is tiny
    assert prepare(prepared).unprepared is tiny
    assert prepared.parameter_count == tiny.parameter_count
    for state in (tiny.state_dict(), prepared.state_dict()):
        assert state.keys() == before.keys()
        assert all(torch.equal(state[key], before[key]) for key in before)
    own = sum(x.numel() for x in prepared.parameters() if not any(x is y for y in tiny.parameters()))
    assert 0 < own < 0.05 * tiny.parameter_count, "everything else is shared"
    with pytest.raises(TypeError, match="a prepared model takes no state dict"):
        prepared.load_state_dict(before)
    save_model(prepared, tmp_path / "saved.safetensors")
    loaded = load_model(tmp_path / "saved.safetensors", "cpu", "fp32")
    assert loaded.prepared_from
    assert torch.equal(loaded.state_dict()["no_obj_ptr"], before["no_obj_ptr"].half().float())


@pytest.mark.parametrize(
    ("n", "m", "channels"), [(1, 1, 16), (128, 300, 64), (300, 77, 16), (9, 2 * KEYS + 3, 16)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_with_narrow_values_is_attention(n: int, m: int, channels: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 3, count, 64, generator=draw).to(dtype) for count in (n, m))
    v = torch.randn(2, 3, m, channels, generator=draw).to(dtype)
    exact = (q.double() @ k.double().transpose(2, 3) / 8).softmax(dim=-1) @ v.double()
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    across = k.transpose(2, 3).contiguous()
    for found in (attend(q, k, v), attend_in_tiles(q, across, v), attend_by_rows(q, across, v)):
        torch.testing.assert_close(found.double(), exact, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("shift", [-2000.0, -150.0, -60.0, 60.0, 150.0, 2000.0])
def test_scores_of_any_size_are_weighed(shift: float) -> None:
    """Without a shift the exponentials of some queries, of one of two objects, would be 0 or infinite."""
    draw = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 1, count, 64, generator=draw) for count in (30, 2 * KEYS))
    v = torch.randn(2, 1, 2 * KEYS, 16, generator=draw)
    k[..., 0] = 8.0
    q[1, :, ::2, 0] = shift  # adds as much to all scores of these queries
    exact = (q.double() @ k.double().transpose(2, 3) / 8).softmax(dim=-1) @ v.double()
    torch.testing.assert_close(attend(q, k, v).double(), exact, atol=2e-4, rtol=1e-3)


def test_half_split_pairs_rotate_as_adjacent_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 1, 3 * 16, 32, generator=torch.Generator().manual_seed(0))
    rope, order = axial_rope(4, 32, x.device), half_split_order(32)
    assert sorted(order.tolist()) == list(range(32))
    expected = rotate(x, rope)[..., order]
    torch.testing.assert_close(rotate_half_split(x[..., order], rope), expected, atol=0, rtol=0)
    across = rotate_channels_first_(x[1, 0][:, order].t().contiguous(), rope)
    torch.testing.assert_close(across.t(), expected[1, 0])
    monkeypatch.setattr("sam2_ros.engine.kernels.rope.TOKENS_AT_ONCE", 10)  # of two objects: 5 of 16
    in_place = x[..., order].clone()
    assert rotate_half_split_(in_place, rope) is in_place
    torch.testing.assert_close(in_place, expected)


def test_training_can_use_tables_that_inference_made(tiny: Sam2Model) -> None:
    fused(tiny)
    features = torch.randn(1, tiny.config.d_model, tiny.config.grid, tiny.config.grid, requires_grad=True)
    memory = MemoryView(
        torch.randn(1, 1, tiny.config.grid**2, tiny.config.mem_dim),
        torch.zeros(1, 1, dtype=torch.long),
        torch.zeros(1, 0, tiny.config.d_model),
        torch.zeros(1, 0),
    )
    tiny.fuse_memory(features, memory).sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0


def test_gradients_are_those_of_the_official_arithmetic(tiny: Sam2Model) -> None:
    """In training on a CPU values are projected after the attention; plain operators project them before it."""
    layer = tiny.memory_attention.layers[0].cross_attn_image  # type: ignore[union-attr]
    rope = Rope(axial_rope(8, 256, torch.device("cpu")), axial_rope(8, 256, torch.device("cpu")), 4)
    draw = torch.Generator().manual_seed(3)
    q, memory = (torch.randn(2, *size, generator=draw, requires_grad=True) for size in ((64, 256), (132, 64)))
    gradients = []
    for q_wanted in (True, False):
        given = q if q_wanted else q.detach()
        answer = layer(given, memory, memory, rope)  # type: ignore[operator]
        gradients.append(torch.autograd.grad(answer.square().sum(), memory)[0])
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-4)
