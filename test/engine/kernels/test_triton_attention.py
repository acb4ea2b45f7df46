# SPDX-License-Identifier: Apache-2.0
"""The Triton kernel computes attention: in Triton's interpreter on a CPU, and with `-m gpu` on a GPU.

Compiling it needs no GPU.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from interpreted_attention import (
    SMALL_TILES,
    Case,
    in_interpreter,
    largest_error,
    timed_beside_projected_values,
)

from sam2_ros.engine.kernels.gpu import Shape
from sam2_ros.engine.kernels.triton_tiles import Tiles, fitting_tiles, shared_memory

NO_TRITON = "Triton is not installed: pip install triton==3.7.1 (docs/explanation/kernels.md)"

ODD = [(1, 1), (1, 33), (33, 70), (65, 32), (64, 129)]
ROUNDING = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 1.5e-2}
CASES = {
    "long keys": Case(20, 5001),
    "long keys in parts": Case(20, 5001, splits=7),
    "more parts than tiles of keys": Case(40, 50, splits=16),
    "several objects": Case(50, 100, batch=3, splits=2),
    "objects that share their queries": Case(50, 100, batch=3, shared_queries=True, splits=2),
    "several heads and objects": Case(20, 40, batch=2, heads=3),
    "heads that share their queries": Case(20, 40, batch=2, heads=3, shared_queries=True, splits=2),
    "nano": Case(40, 100, channels=128),
    "the smallest": Case(40, 100, channels=32, value_channels=16),
    "values as wide as keys": Case(40, 100, channels=64, value_channels=64),
    "tiles that are not square": Case(70, 90, tiles=Tiles(64, 16, 4, 2), splits=2),
}


@pytest.fixture(scope="module")
def interpreter():
    pytest.importorskip("triton", reason=NO_TRITON)
    with in_interpreter() as process:
        yield lambda case, function=largest_error: process.submit(function, case).result()


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize(("queries", "keys"), ODD)
def test_any_number_of_queries_and_keys(interpreter, queries, keys, dtype):
    assert interpreter(Case(queries, keys, dtype)) < ROUNDING[dtype]
    assert interpreter(Case(queries, keys, dtype, splits=2)) < ROUNDING[dtype]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_shapes_of_models(interpreter, case):
    assert interpreter(case) < ROUNDING[case.dtype]


@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_scores_beyond_what_float16_holds(interpreter, dtype):
    """Products of queries and keys are up to a hundred thousand; nearly all weight is on one key."""
    assert interpreter(Case(40, 300, dtype, size=40.0, splits=2)) < max(1e-3, ROUNDING[dtype])


def test_projecting_its_answer_is_attending_to_projected_values(interpreter):
    timed = interpreter(Shape(1, 30, 200, 64, 32), timed_beside_projected_values)
    assert len(timed.seconds) == 2, timed.left_out


@pytest.mark.parametrize(
    ("capability", "matrix_unit"),
    [
        ((8, 0), "mma.sync"),
        ((8, 7), "mma.sync"),
        ((8, 9), "mma.sync"),
        ((9, 0), "wgmma"),
        ((10, 0), "tcgen05"),
    ],
)
def test_it_compiles_for_gpus_within_their_shared_memory(capability, matrix_unit):
    """Triton compiles for GPUs that are not present. A kernel can start if its tiles fit into shared memory."""
    pytest.importorskip("triton", reason=NO_TRITON)
    for tiles in fitting_tiles(256, 64, torch.bfloat16, capability):
        compiled = compiled_for(capability, tiles, 256, 64)
        expected = shared_memory(tiles, 256, 64, torch.bfloat16, capability)
        assert expected - 1024 <= compiled.metadata.shared <= expected
        assert matrix_unit in compiled.asm["ptx"]


def compiled_for(capability: tuple[int, int], tiles: Tiles, channels: int, value_channels: int):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from sam2_ros.engine.kernels.triton_attention import _attend

    types = dict.fromkeys(_attend.arg_names, "i32") | {"scale": "fp32"}
    types |= dict.fromkeys(("q_hnc", "k_hmc", "v_hmc"), "*bf16")
    types |= dict.fromkeys(("sums_shnc", "peaks_shn", "totals_shn"), "*fp32")
    constants = {"C": channels, "CV": value_channels, "QUERIES": tiles.queries, "KEYS": tiles.keys}
    types |= dict.fromkeys(constants, "constexpr")
    places = {_attend.arg_names.index(name): value for name, value in constants.items()}
    aligned = {(place,): [["tt.divisibility", 16]] for place in range(6)}
    source = ASTSource(
        _attend, types, constexprs={(place,): value for place, value in places.items()}, attrs=aligned
    )
    options = {"num_warps": tiles.warps, "num_stages": tiles.stages}
    return triton.compile(
        source, target=GPUTarget("cuda", 10 * capability[0] + capability[1], 32), options=options
    )


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_on_a_gpu(dtype):
    pytest.importorskip("triton", reason=NO_TRITON)
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    capability = torch.cuda.get_device_capability()
    large = [Case(1, 1), Case(1000, 7001), Case(4096, 28736, batch=2, shared_queries=True)]
    for tiles in (*fitting_tiles(256, 64, torch.bfloat16, capability), SMALL_TILES):
        for case in (*large, *CASES.values()):
            for splits in (None, case.splits):
                asked = replace(case, dtype=dtype, tiles=tiles, splits=splits)
                assert largest_error(asked, "cuda") < ROUNDING[dtype], asked
