"""The Triton kernel is attention: in Triton's interpreter, which runs on a CPU, and with `-m gpu` on a GPU."""

from __future__ import annotations

import pytest
import torch
from interpreted_attention import SMALL_TILES, Case, in_interpreter, largest_error

from sam2_ros.engine.attention_kernels import Tiles

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
    pytest.importorskip("triton", reason="Triton is not installed: pip install triton (docs/performance.md)")
    with in_interpreter() as process:
        yield lambda case: process.submit(largest_error, case).result()


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize(("queries", "keys"), ODD)
def test_any_number_of_queries_and_keys(interpreter, queries, keys, dtype):
    assert interpreter(Case(queries, keys, dtype)) < ROUNDING[dtype]
    assert interpreter(Case(queries, keys, dtype, splits=2)) < ROUNDING[dtype]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_a_model_asks_of_it(interpreter, case):
    assert interpreter(case) < ROUNDING[case.dtype]


@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_scores_beyond_what_float16_holds(interpreter, dtype):
    """Products of queries and keys of up to a hundred thousand, nearly all of the weight on one key."""
    assert interpreter(Case(40, 300, dtype, size=40.0, splits=2)) < max(1e-3, ROUNDING[dtype])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("tiles", [Tiles(64, 32, 4, 2), SMALL_TILES], ids=str)
def test_on_a_gpu(dtype, tiles):
    pytest.importorskip("triton", reason="Triton is not installed: it comes with PyTorch's CUDA builds")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for case in (
        Case(1, 1),
        Case(1000, 7001),
        Case(4096, 28736, batch=2, shared_queries=True),
        *CASES.values(),
    ):
        for splits in (None, case.splits):
            asked = Case(**{**vars(case), "dtype": dtype, "tiles": tiles, "splits": splits})
            assert largest_error(asked, "cuda") < ROUNDING[dtype], asked
