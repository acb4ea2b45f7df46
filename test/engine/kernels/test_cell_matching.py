# SPDX-License-Identifier: Apache-2.0
"""Weighted sums over cells that look alike: the C++ kernels, plain operators and loops in NumPy give the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matching_loops import loops

from sam2_ros.engine.kernels import cell_matching
from sam2_ros.engine.kernels.cell_matching import Falloff, matching_sums
from sam2_ros.engine.kernels.cpu import NEEDED, Kernels, cpu_flags
from sam2_ros.engine.kernels.layers import plain_operators

SCALE = torch.tensor(15.0)
WINDOW = Falloff(torch.tensor(0.02), 5)
ALL = "every cell"


@pytest.fixture
def _kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses the kernels if this CPU can run them, even if they are not the fastest on it."""
    if not cpu_flags().issuperset(NEEDED):
        pytest.skip(f"the CPU lacks {', '.join(sorted(NEEDED - cpu_flags()))}")
    kernels = Kernels()
    monkeypatch.setattr(cell_matching, "cpu_kernels", lambda: kernels)


def drawn(side: int, frames: int, values: int, channels: int = 64) -> tuple[torch.Tensor, ...]:
    """Queries, keys that resemble them, and values."""
    generator = torch.Generator().manual_seed(side + frames + values)
    queries = torch.randn(side**2, channels, generator=generator)
    keys = queries + 0.7 * torch.randn(frames, side**2, channels, generator=generator)
    unit = [torch.nn.functional.normalize(x, dim=-1) for x in (queries, keys)]
    return *unit, torch.rand(frames, side**2, values, generator=generator)


@pytest.mark.parametrize("falloff", [None, Falloff(torch.tensor(0.02), 3)], ids=[ALL, "windows"])
def test_sums_are_those_of_loops(falloff: Falloff | None) -> None:
    """A grid of two blocks in each direction, the second one cut off; windows do not reach everything."""
    queries, keys, values = drawn(side=17, frames=2, values=3, channels=8)
    with plain_operators():
        found = matching_sums(queries, keys, values, SCALE, falloff)
    window = () if falloff is None else (float(falloff.per_square), falloff.radius)
    expected = loops(queries.numpy(), keys.numpy(), values.numpy(), float(SCALE), *window)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)
    if falloff is not None:
        assert (found < matching_sums(queries, keys, values, SCALE)).all()


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("falloff", [None, WINDOW], ids=[ALL, "windows"])
@pytest.mark.parametrize(("side", "frames", "values"), [(48, 2, 6), (44, 1, 2), (32, 3, 17), (16, 1, 40)])
def test_kernels_give_the_sums_of_plain_operators(
    side: int, frames: int, values: int, falloff: Falloff | None
) -> None:
    given = drawn(side, frames, values)
    with plain_operators():
        expected = matching_sums(*given, SCALE, falloff)
    torch.testing.assert_close(matching_sums(*given, SCALE, falloff), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("per_square", [0.005, 0.1])
@pytest.mark.parametrize("side", [48, 44, 32])
def test_kernels_in_bfloat16_are_close(side: int, per_square: float) -> None:
    """Far from the middle of the grid, too, where squares of positions are large and their difference is small."""
    if torch.bfloat16 not in Kernels().types:
        pytest.skip("the CPU lacks avx512_bf16")
    given = drawn(side, 2, 4)
    for falloff in (None, Falloff(torch.tensor(per_square), 10)):
        with plain_operators():
            expected = matching_sums(*given, SCALE, falloff)
        with torch.autocast("cpu", torch.bfloat16):
            found = matching_sums(*given, SCALE, falloff)
        assert found.dtype == torch.float32
        assert ((found - expected).abs() / expected).max() < 0.08
        assert ((found - expected).square().mean() / expected.square().mean()).sqrt() < 0.01


def test_plain_operators_in_bfloat16_are_close() -> None:
    given = drawn(24, 2, 4)
    for falloff in (None, WINDOW):
        with plain_operators():
            expected = matching_sums(*given, SCALE, falloff)
            with torch.autocast("cpu", torch.bfloat16):
                found = matching_sums(*given, SCALE, falloff)
        assert ((found - expected).square().mean() / expected.square().mean()).sqrt() < 0.01


@pytest.mark.parametrize("falloff", [None, WINDOW], ids=[ALL, "windows"])
def test_without_frames_sums_are_zero(falloff: Falloff | None) -> None:
    queries, keys, values = drawn(32, 1, 5)
    sums = matching_sums(queries, keys[:0], values[:0], SCALE, falloff)
    assert sums.shape == (32**2, 5)
    assert not sums.any()


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("learns", ["queries", "keys", "values", "scale", "falloff"])
def test_whatever_learns_gets_its_gradient(learns: str) -> None:
    """The kernels have no gradients: plain operators are used as soon as one input learns."""
    queries, keys, values = drawn(16, 1, 2)
    given = {
        "queries": queries,
        "keys": keys,
        "values": values,
        "scale": SCALE.clone(),
        "falloff": torch.tensor(0.02),
    }
    given[learns].requires_grad_()
    sums = matching_sums(
        *(given[name] for name in ("queries", "keys", "values", "scale")), Falloff(given["falloff"], 5)
    )
    sums.sum().backward()
    assert given[learns].grad.abs().sum() > 0
