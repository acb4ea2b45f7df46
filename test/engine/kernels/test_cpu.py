# SPDX-License-Identifier: Apache-2.0
"""Compares the C++ kernels with softmax attention in float64, on real and on odd sizes."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from random_models import random_model

from sam2_ros.engine import Sam2Model, config_for
from sam2_ros.engine.kernels import attention
from sam2_ros.engine.kernels import cpu as cpu_attention
from sam2_ros.engine.kernels.cpu import NEEDED, Kernels, cpu_flags, cpu_kernels, grid_projections
from sam2_ros.engine.kernels.layers import plain_operators
from sam2_ros.engine.kernels.prepare import prepare
from sam2_ros.engine.kernels.rope import Rope, axial_rope, channels_first, rotate
from sam2_ros.engine.model.hiera import WindowAttention
from sam2_ros.engine.model.sam2 import MemoryView
from sam2_ros.weights.load import load_model, save_model

ROOT = Path(__file__).resolve().parents[3]
TYPES = [torch.float32, torch.bfloat16]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    """The kernels if this CPU can run them, even if they are not the fastest on it."""
    if not cpu_flags().issuperset(NEEDED):
        pytest.skip(f"the CPU lacks {', '.join(sorted(NEEDED - cpu_flags()))}")
    return Kernels()


def need(kernels: Kernels, dtype: torch.dtype) -> None:
    if dtype not in kernels.types:
        pytest.skip("the CPU lacks avx512_bf16")


def draw(*sizes: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed + sum(sizes))).to(dtype)


def exact(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    scores = q.double() @ k.double().transpose(-2, -1) * q.shape[-1] ** -0.5
    return scores.softmax(dim=-1) @ v.double()


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Rms of the difference over the rms of the expected values."""
    assert found.shape == expected.shape
    return ((found - expected).square().mean().sqrt() / expected.square().mean().sqrt()).item()


def tolerance(dtype: torch.dtype) -> float:
    return 5e-6 if dtype == torch.float32 else 5e-3


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("batch", "heads", "queries", "keys", "channels", "value_channels"),
    [
        (1, 1, 32, 8, 2, 1),
        (1, 1, 37, 1000, 64, 32),
        (3, 4, 36, 144, 48, 48),
        (1, 8, 4096, 9, 16, 16),
        (2, 3, 49, 196, 96, 96),  # heads by threads
        (40, 2, 32, 64, 96, 40),
        (1, 4, 500, 513, 96, 96),  # rows by threads
        (1, 1, 200, 4097, 256, 64),
    ],
)
def test_the_kernel_computes_attention(
    kernels: Kernels,
    dtype: torch.dtype,
    batch: int,
    heads: int,
    queries: int,
    keys: int,
    channels: int,
    value_channels: int,
) -> None:
    need(kernels, dtype)
    # In the layout of linear layers: the heads of a token are adjacent, keys and values in one tensor.
    q = draw(batch, queries, heads, channels, dtype=dtype).transpose(1, 2)
    kv = draw(batch, keys, heads, channels + value_channels, dtype=dtype).transpose(1, 2)
    k, v = kv.split([channels, value_channels], dim=-1)
    assert kernels.takes(q, k, v)
    expected = exact(q, k, v)
    assert error(kernels.attend(q, k, v), expected) < tolerance(dtype)
    channels_first = k.transpose(2, 3).contiguous().transpose(2, 3)
    assert kernels.takes(q, channels_first, v)
    assert torch.equal(kernels.attend(q, channels_first, v), kernels.attend(q, k, v))
    one_for_all = q[:1].expand(batch, -1, -1, -1)
    assert error(kernels.attend(one_for_all, k, v), exact(one_for_all, k, v)) < tolerance(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("queries", [1, 4, 7, 12, 13, 16, 23])
@pytest.mark.parametrize("keys", [1, 15, 16, 17, 33, 257])
def test_partial_tiles_give_the_same_result(
    kernels: Kernels, dtype: torch.dtype, queries: int, keys: int
) -> None:
    need(kernels, dtype)
    q, k, v = (draw(3, 2, tokens, 34, dtype=dtype) for tokens in (queries, keys, keys))
    assert error(kernels.attend(q, k, v), exact(q, k, v)) < tolerance(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("batch", "height", "width", "window", "channels", "heads", "pool_queries"),
    [
        (1, 64, 64, 14, 96, 1, False),  # tokens beyond the edge
        (1, 36, 40, 14, 192, 2, True),
        (2, 24, 40, 8, 48, 1, False),
        (2, 24, 40, 16, 96, 2, True),
        (1, 13, 17, 7, 56, 1, False),
    ],
)
def test_attention_in_windows_in_place_equals_attention_to_windows_cut_out(
    kernels: Kernels,
    dtype: torch.dtype,
    batch: int,
    height: int,
    width: int,
    window: int,
    channels: int,
    heads: int,
    pool_queries: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need(kernels, dtype)
    torch.manual_seed(0)
    layer = WindowAttention(48, channels, heads, pool_queries).to(dtype).requires_grad_(False)
    x = draw(batch, height, width, 48, dtype=dtype)
    answers, in_place = [], []
    called = Kernels.attend_in_windows
    monkeypatch.setattr(Kernels, "attend_in_windows", lambda *args: (in_place.append(1), called(*args))[1])
    for there in (kernels, None):
        monkeypatch.setattr("sam2_ros.engine.kernels.attention.cpu_kernels", lambda there=there: there)
        with torch.inference_mode():
            answers.append(layer(x, window))
    assert in_place == [1]
    assert error(answers[0], answers[1]) < tolerance(dtype)


@pytest.mark.parametrize("shift", [-2000.0, -150.0, -60.0, 60.0, 150.0, 2000.0])
def test_scores_of_any_size_are_weighed(kernels: Kernels, shift: float) -> None:
    """Without a shift the powers of some queries, in one of two heads, would be 0 or infinite."""
    q, k, v = draw(1, 2, 300, 64), draw(1, 2, 700, 64), draw(1, 2, 700, 32)
    k[..., 0] = 8.0
    q[:, 1, ::2, 0] = shift  # adds as much to all scores of these queries
    assert error(kernels.attend(q, k, v), exact(q, k, v)) < 2e-4


def test_nan_stays_nan_in_its_own_rows(kernels: Kernels) -> None:
    q, k, v = draw(1, 1, 64, 32), draw(1, 1, 64, 32), draw(1, 1, 64, 32)
    q[0, 0, 5, 0] = torch.nan
    found = kernels.attend(q, k, v)
    assert found[0, 0, 5].isnan().all()
    assert error(found[:, :, 12:], exact(q, k, v)[:, :, 12:]) < 5e-6


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("side", "frames", "loose", "batch"), [(4, 3, 5, 2), (24, 2, 12, 1), (12, 1, 0, 1)])
def test_queries_and_keys_are_rotated_while_they_are_packed(
    kernels: Kernels, dtype: torch.dtype, side: int, frames: int, loose: int, batch: int
) -> None:
    need(kernels, dtype)
    cells, channels = side**2, 64
    rotated_keys = frames * cells
    q = draw(batch, 1, cells, channels, dtype=dtype)
    k, v = (draw(batch, 1, rotated_keys + loose, c, dtype=dtype, seed=1) for c in (channels, 32))
    rope = axial_rope(side, channels, CPU)
    found = kernels.attend(q, k, v, rope, channels_first(rope), rotated_keys)
    rotated = torch.cat([rotate(k[:, :, :rotated_keys], rope), k[:, :, rotated_keys:]], dim=2)
    assert error(found, exact(rotate(q, rope), rotated, v)) < tolerance(dtype)
    assert error(found, exact(q, k, v)) > 0.1


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("side", "key_side", "frames", "loose", "channels", "dim"),
    [(6, 6, 4, 0, 32, 8), (8, 8, 7, 16, 256, 64), (10, 6, 12, 2, 64, 16), (24, 24, 7, 32, 128, 64)],
)
def test_implicit_keys_score_as_computed_ones(
    kernels: Kernels,
    dtype: torch.dtype,
    side: int,
    key_side: int,
    frames: int,
    loose: int,
    channels: int,
    dim: int,
) -> None:
    need(kernels, dtype)
    assert kernels.grid_pays(dtype, channels, dim, key_side, frames, loose)
    rotated_keys, batch = frames * key_side**2, 2
    memory, values = (draw(batch, rotated_keys + loose, dim, dtype=dtype, seed=seed) for seed in (1, 2))
    weight, bias = draw(channels, dim, dtype=dtype) * dim**-0.5, draw(channels, dtype=dtype)
    rope, key_rope = axial_rope(side, channels, CPU), axial_rope(key_side, channels, CPU, pitch=2)
    keys = memory.double() @ weight.double().t() + bias.double()
    keys = torch.cat(
        [rotate(keys[:, None, :rotated_keys].float(), key_rope), keys[:, None, rotated_keys:]], dim=2
    )
    projections = grid_projections(weight, bias, key_rope)
    for of_each in (False, True):
        q = draw(batch if of_each else 1, side**2, channels, dtype=dtype)
        found = kernels.attend_to_grid(q, memory, values, projections, rope, loose)
        assert found is not None
        rotated = rotate(q[:, None].float(), rope).expand(batch, -1, -1, -1)
        assert error(found[:, None], exact(rotated, keys, values[:, None])) < 2 * tolerance(dtype)


def test_implicit_keys_are_not_used_for_scores_out_of_range(kernels: Kernels) -> None:
    side, channels, dim = 4, 64, 16
    memory, values = draw(1, 4 * side**2, dim), draw(1, 4 * side**2, dim, seed=1)
    rope, projections = axial_rope(side, channels, CPU), None
    for size, answers in ((1.0, True), (100.0, False), (torch.nan, False)):
        projections = grid_projections(draw(channels, dim) * size, draw(channels), rope)
        found = kernels.attend_to_grid(draw(1, side**2, channels), memory, values, projections, rope, 0)
        assert (found is not None) == answers


@torch.inference_mode()
def test_memory_attention_with_large_weights_is_the_same_without_kernels(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both kernels get scores that are out of range, and the results stay the same."""
    torch.manual_seed(0)
    model = Sam2Model(config_for("nano").at_image_size(128)).eval().requires_grad_(False)
    for layer in model.memory_attention.layers:
        layer.cross_attn_image.k_proj.weight.mul_(300)  # type: ignore[union-attr,operator]
    config = model.config
    memory = MemoryView(
        draw(2, 5, config.grid**2, config.mem_dim),
        torch.tensor([[6, 0, 1, 2, 3]]).expand(2, -1),
        draw(2, 3, config.d_model),
        torch.tensor([[5.0, 2.0, 1.0]]).expand(2, -1),
    )
    features = draw(1, config.d_model, config.grid, config.grid)
    found = {}
    for there in (kernels, None):
        monkeypatch.setattr("sam2_ros.engine.kernels.attention.cpu_kernels", lambda there=there: there)
        for name, asked in (("as it is", model), ("prepared", prepare(model, half_split=False))):
            found[name, there is None] = asked.fuse_memory(features, memory)
    with plain_operators():
        official = model.fuse_memory(features, memory)
    for answer in found.values():
        assert error(answer, official) < 1e-4
    assert not torch.equal(found["prepared", False], found["prepared", True])


@pytest.mark.parametrize("image_size", [96, 160, 224])  # grids of 36, 100 and 196 cells, no multiples of 16
@pytest.mark.parametrize("frames", [1, 2, 3])
@torch.inference_mode()
def test_grids_of_any_size_are_rotated_by_the_kernel(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch, image_size: int, frames: int
) -> None:
    monkeypatch.setattr(attention, "cpu_kernels", lambda: kernels)
    grid = image_size // 16
    q, k, v = (draw(2, 1, n, 64) for n in (grid**2, frames * grid**2 + 8, frames * grid**2 + 8))
    table = axial_rope(grid, 64, CPU)
    rotated = torch.cat([rotate(k[:, :, :-8], table), k[:, :, -8:]], dim=2)
    with_loose_keys = attention.attend(q, k, v, rope=Rope(table, table, 8))
    assert error(with_loose_keys, exact(rotate(q, table), rotated, v)) < 5e-6
    monkeypatch.setattr(attention, "_rotated", None)  # nothing but the kernel rotates
    without = attention.attend(q, k[:, :, :-8], v[:, :, :-8], rope=Rope(table, table))
    assert error(without, exact(rotate(q, table), rotated[:, :, :-8], v[:, :, :-8])) < 5e-6


def test_unsupported_calls_are_computed_by_pytorch(kernels: Kernels, monkeypatch) -> None:
    monkeypatch.setattr("sam2_ros.engine.kernels.attention.cpu_kernels", lambda: kernels)
    for n, m, c, cv in ((8, 64, 32, 32), (64, 4, 32, 32), (64, 64, 33, 32), (3, 3, 32, 16)):
        q, k, v = draw(1, 2, n, c), draw(1, 2, m, c), draw(1, 2, m, cv)
        assert not kernels.takes(q, k, v)
        assert error(attention.attend(q, k, v), exact(q, k, v)) < 5e-6
    q, k, v = (draw(1, 2, 64, 128)[..., ::2] for _ in range(3))
    assert not kernels.takes(q, k, v)
    assert not kernels.takes(q.half(), k.half(), v.half())
    assert error(attention.attend(q, k, v), exact(q, k, v)) < 5e-6
    with_gradient = draw(1, 1, 64, 32).requires_grad_()
    attention.attend(draw(1, 1, 64, 32), with_gradient, with_gradient).sum().backward()
    assert with_gradient.grad is not None


@pytest.fixture
def asked_anew(monkeypatch: pytest.MonkeyPatch):
    """Clears the cached kernels before and after the test."""
    cpu_kernels.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    cpu_kernels.cache_clear()


def test_a_missing_library_is_one_warning_with_the_remedy(asked_anew, caplog) -> None:
    asked_anew.setattr(cpu_attention, "cpu_flags", lambda: frozenset(NEEDED))
    asked_anew.setattr(cpu_attention, "LIBRARY", "_never_built")
    with caplog.at_level(logging.WARNING):
        assert cpu_kernels() is None
        q = draw(1, 1, 64, 32)
        assert error(attention.attend(q, q, q), exact(q, q, q)) < 5e-6
    (line,) = [record.getMessage() for record in caplog.records]
    assert "install g++ 10 or newer, then sam2_ros again" in line


@pytest.mark.parametrize("flags", [set(), {"avx2"}, NEEDED | {"avx512_bf16", "amx_bf16"}])
def test_other_cpus_use_pytorch_without_a_warning(asked_anew, caplog, flags: set[str]) -> None:
    asked_anew.setattr(cpu_attention, "cpu_flags", lambda: frozenset(flags))
    assert cpu_kernels() is None
    assert not caplog.records


def test_bfloat16_needs_a_cpu_that_multiplies_it(kernels: Kernels, monkeypatch) -> None:
    monkeypatch.setattr(cpu_attention, "cpu_flags", lambda: frozenset(NEEDED))
    without = Kernels()
    assert without.types == {torch.float32}
    q = draw(1, 1, 64, 32, dtype=torch.bfloat16)
    assert not without.takes(q, q, q)


@pytest.mark.long
def test_an_installation_without_a_compiler_goes_on_without_kernels(tmp_path: Path) -> None:
    options = ["--build-lib", tmp_path / "lib", "--build-temp", tmp_path / "t"]
    build = [sys.executable, "setup.py", "build_ext", *options]
    for compiler, built in (("false", False), ("", True)):
        chosen = {"CC": compiler, "CXX": compiler} if compiler else {}
        subprocess.run(build, cwd=ROOT, env=os.environ | chosen, check=True, capture_output=True)
        assert bool(list((tmp_path / "lib").rglob("_cpu_kernels*.so"))) == (
            built and platform.machine() == "x86_64"
        )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (set(), torch.float32),
        (NEEDED, torch.float32),
        (NEEDED | {"avx512_bf16"}, torch.bfloat16),
    ],
)
def test_models_are_in_bfloat16_where_kernels_make_that_fast(
    asked_anew, kernels: Kernels, tmp_path: Path, flags: set[str], expected: torch.dtype
) -> None:
    asked_anew.setattr(cpu_attention, "cpu_flags", lambda: frozenset(flags))
    asked_anew.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    save_model(random_model(config_for("nano")), tmp_path / "random.safetensors")
    assert load_model(tmp_path / "random.safetensors", device="cpu").compute_dtype == expected


def test_which_kernel_computes_which_call(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    rotating = []

    def watch(name: str) -> None:
        method = getattr(Kernels, name)

        def called(self: Kernels, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rotation: object):
            rotating.extend([name] if rotation else [])
            return method(self, q, k, v, *rotation)

        monkeypatch.setattr(Kernels, name, called)

    watch("attend")
    watch("attend_to_grid")
    monkeypatch.setattr("sam2_ros.engine.kernels.attention.cpu_kernels", lambda: kernels)
    model = Sam2Model(config_for("nano").at_image_size(128)).eval().requires_grad_(False)
    config, table = model.config, axial_rope(model.config.grid, model.config.d_model, CPU)
    q, memory = draw(1, config.grid**2, config.d_model), draw(1, 4 * config.grid**2, config.mem_dim)
    for asked, frames, expected in (
        (prepare(model, half_split=False), 4, ["attend_to_grid"]),
        (prepare(model, half_split=False), 3, ["attend"]),
        (prepare(model, half_split=False, narrow_values=False), 4, ["attend"]),
        (model, 4, ["attend"]),
        (prepare(model, half_split=True), 4, []),
    ):
        rotating.clear()
        layer = asked.memory_attention.layers[0].cross_attn_image  # type: ignore[union-attr]
        some = memory[:, : frames * config.grid**2]
        with torch.inference_mode():
            layer(q, some, some, Rope(table, table, 0, asked.memory_attention.half_split), None)  # type: ignore[operator]
        assert rotating == expected


def test_a_library_of_another_version_is_not_used(kernels, monkeypatch):
    monkeypatch.setattr(cpu_attention, "INTERFACE", cpu_attention.INTERFACE + 1)
    with pytest.raises(
        OSError, match=rf"_cpu_kernels.* has interface {cpu_attention.INTERFACE - 1}, expected"
    ):
        Kernels()
