"""Exact rewrites: each gives what the official arithmetic gives, and none does nothing."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import config_for
from sam2_ros.engine.kernels.attention import KEYS, attention, attention_by_rows, attention_in_tiles
from sam2_ros.engine.kernels.rewrites import AS_OFFICIAL, Rewrites
from sam2_ros.engine.kernels.rope import (
    axial_rope,
    pairs_apart,
    rotate,
    rotate_across_,
    rotate_apart,
    rotate_apart_,
)
from sam2_ros.engine.model.sam2 import MemoryView, Sam2Model

NAMES = [field.name for field in fields(Rewrites)]
OF_MEMORY = [name for name in NAMES if name != "folded_skips"]


@pytest.fixture(scope="module")
def tiny() -> Sam2Model:
    model = Sam2Model(config_for("tiny").at_image_size(128)).eval().requires_grad_(False)
    model.load_state_dict(fill_by_key(model.state_dict()))
    return model


def fused(model: Sam2Model, rewrites: Rewrites, objects: int = 3) -> torch.Tensor:
    """Features of one frame after three objects' memories of five frames and three pointers each."""
    config, draw = model.config, torch.Generator().manual_seed(1)
    features = torch.randn(1, config.d_model, config.grid, config.grid, generator=draw)
    memory = MemoryView(
        torch.randn(objects, 5, config.grid**2, config.mem_dim, generator=draw),
        torch.tensor([[config.num_maskmem - 1, 3, 2, 1, 0]]).expand(objects, -1),
        torch.randn(objects, 3, config.d_model, generator=draw),
        torch.tensor([[5.0, 2.0, 1.0]]).expand(objects, -1),
    )
    model.rewrites = rewrites
    with torch.inference_mode():
        return model.fuse_memory(features, memory)


@pytest.mark.parametrize("name", OF_MEMORY)
def test_each_rewrite_gives_what_the_official_arithmetic_gives(tiny: Sam2Model, name: str) -> None:
    official = fused(tiny, AS_OFFICIAL)
    rewritten = fused(tiny, replace(AS_OFFICIAL, **{name: True}))
    rms = official.square().mean().sqrt()
    assert (rewritten - official).abs().max() < 2e-5 * rms
    assert not torch.equal(rewritten[0], rewritten[1])  # objects are told apart


def test_all_of_them_together_as_well(tiny: Sam2Model) -> None:
    official = fused(tiny, AS_OFFICIAL)
    assert (fused(tiny, Rewrites()) - official).abs().max() < 2e-5 * official.square().mean().sqrt()
    assert Rewrites() == replace(AS_OFFICIAL, **dict.fromkeys(NAMES, True))


def test_skips_of_one_convolution_are_those_of_two(tiny: Sam2Model) -> None:
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    found = {}
    for rewrites in (AS_OFFICIAL, replace(AS_OFFICIAL, folded_skips=True)):
        tiny.rewrites = rewrites
        with torch.inference_mode():
            found[rewrites.folded_skips] = tiny.encode_image(image)
    for official, folded in zip(found[False], found[True], strict=True):
        assert folded.shape == official.shape
        assert (folded - official).abs().max() < 2e-5 * official.square().mean().sqrt()
    assert not torch.equal(found[False].s4, found[True].s4)  # another order of the same sums
    assert torch.equal(found[False].s16, found[True].s16)


def test_what_is_the_same_for_all_objects_is_done_once(tiny: Sam2Model) -> None:
    rows = []
    watch = tiny.memory_attention.layers[0].self_attn.register_forward_hook(  # type: ignore[union-attr,operator]
        lambda module, inputs, output: rows.append(len(output))
    )
    fused(tiny, AS_OFFICIAL)
    fused(tiny, Rewrites())
    watch.remove()
    assert rows == [3, 1]


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
    for found in (attention(q, k, v), attention_in_tiles(q, across, v), attention_by_rows(q, across, v)):
        torch.testing.assert_close(found.double(), exact, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("shift", [-2000.0, -150.0, -60.0, 60.0, 150.0, 2000.0])
def test_scores_of_any_size_are_weighed(shift: float) -> None:
    """Exponentials of them alone would be 0 or infinite; of some queries only, and of one object in two."""
    draw = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 1, count, 64, generator=draw) for count in (30, 2 * KEYS))
    v = torch.randn(2, 1, 2 * KEYS, 16, generator=draw)
    k[..., 0] = 8.0
    q[1, :, ::2, 0] = shift  # adds as much to all scores of these queries
    exact = (q.double() @ k.double().transpose(2, 3) / 8).softmax(dim=-1) @ v.double()
    torch.testing.assert_close(attention(q, k, v).double(), exact, atol=2e-4, rtol=1e-3)


def test_pairs_turn_apart_as_they_do_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 1, 3 * 16, 32, generator=torch.Generator().manual_seed(0))
    rope, order = axial_rope(4, 32, x.device), pairs_apart(32, x.device)
    assert sorted(order.tolist()) == list(range(32))
    expected = rotate(x, rope)[..., order]
    torch.testing.assert_close(rotate_apart(x[..., order], rope), expected, atol=0, rtol=0)
    across = rotate_across_(x[1, 0][:, order].t().contiguous(), rope)
    torch.testing.assert_close(across.t(), expected[1, 0])
    monkeypatch.setattr(
        "sam2_ros.engine.kernels.rope.TOKENS_AT_ONCE", 10
    )  # of two objects: 5 of 16 at a time
    in_place = x[..., order].clone()
    assert rotate_apart_(in_place, rope) is in_place
    torch.testing.assert_close(in_place, expected)


def test_training_can_use_tables_that_inference_made(tiny: Sam2Model) -> None:
    fused(tiny, Rewrites())
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
