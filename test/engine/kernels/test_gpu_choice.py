# SPDX-License-Identifier: Apache-2.0
"""The choice among attention kernels: by time, never one that fails or is wrong; a compiler can look it up."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from sam2_ros.engine import config_for
from sam2_ros.engine.kernels import gpu_choice as kernel_choice
from sam2_ros.engine.kernels.attention import attend, narrow_values_pay
from sam2_ros.engine.kernels.gpu import (
    CUDNN,
    EFFICIENT,
    FLASH,
    PROJECTED,
    TRITON,
    Gpu,
    Kernel,
    Shape,
)
from sam2_ros.engine.kernels.gpu_choice import (
    Measured,
    choose_kernels,
    chosen_kernel,
    time_in_turns,
    time_kernels,
)
from sam2_ros.engine.kernels.triton_tiles import Tiles
from sam2_ros.engine.model.attention_shapes import large_attentions
from sam2_ros.errors import UserError
from sam2_ros.weights.load import load_model

A, B, C = Kernel(FLASH), Kernel(EFFICIENT), Kernel(TRITON, Tiles(128, 64, 8, 3))


def exact() -> torch.Tensor:
    return torch.arange(1.0, 9.0)


def test_times_are_the_least_of_several_turns():
    turns = {A: [5.0, 3.0, 4.0], B: [2.0, 6.0, 2.5]}
    calls: dict[Kernel, Callable[[], torch.Tensor]] = {A: lambda: exact() * 1.001, B: exact}
    order = []

    def clock(call) -> float:
        kernel = next(kernel for kernel, known in calls.items() if known is call)
        order.append(kernel)
        return turns[kernel].pop(0)

    measured = time_in_turns(calls, exact(), clock)
    assert measured == Measured({A: 3.0, B: 2.0}, {})
    assert order == [A, B, A, B, A, B], "in turns, so that a device that slows down slows all of them"
    assert measured.winner() == B


def test_a_kernel_that_fails_or_is_wrong_is_left_out_and_named():
    def refuse() -> torch.Tensor:
        raise RuntimeError("head_dim should be no more than 128\nsecond line")

    calls = {A: refuse, B: lambda: exact() * 1.05, C: lambda: exact() * float("nan"), PROJECTED: exact}
    measured = time_in_turns(calls, exact(), lambda call: 1e-3)
    assert measured.winner() == PROJECTED
    assert str(measured) == (
        "projected (projected 1.000 ms; not flash: RuntimeError: head_dim should be no more than 128; "
        "not efficient: its result is wrong, rms error 0.05 of the result's; "
        "not triton 128x64x8x3: its result is wrong, rms error nan of the result's)"
    )


def test_without_a_kernel_that_runs_pytorch_chooses():
    measured = time_in_turns({}, exact(), lambda call: 1.0)
    assert measured.winner() is None
    assert str(measured).startswith("PyTorch's choice")


@pytest.mark.parametrize(
    ("seconds", "winner"),
    [({A: 1.0, B: 0.98}, A), ({A: 1.0, B: 0.96}, B), ({A: 1.0, B: 0.9, C: 0.8}, C), ({A: 1.0, B: 2.0}, A)],
)
def test_the_preferred_one_wins_unless_another_is_clearly_faster(seconds, winner):
    assert Measured(seconds, {}).winner() == winner


def test_cudnn_is_left_out_where_the_number_of_objects_changes():
    measured = Measured({Kernel(CUDNN): 1.0, A: 3.0, B: 2.0}, {})
    assert measured.winner() == Kernel(CUDNN)
    assert measured.winner(without=CUDNN) == B
    assert Measured({Kernel(CUDNN): 1.0}, {}).winner(without=CUDNN) is None


def by_the_clock(call: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    call()
    return time.perf_counter() - begun_s


def test_the_one_that_does_the_work_four_times_loses():
    q, k = torch.randn(1, 1, 256, 64), torch.randn(1, 1, 1024, 64)

    def once() -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, k)

    def four_times() -> torch.Tensor:
        return [once() for _ in range(4)][-1]

    assert time_in_turns({A: four_times, B: once}, once(), by_the_clock).winner() == B


@torch.inference_mode()
def test_kernels_that_this_device_does_not_have_are_left_out():
    """On a CPU these are all kernels; only values projected before PyTorch's attention remain."""
    cpu, half = torch.device("cpu"), torch.bfloat16
    timed = time_kernels(Shape(1, 50, 300, 64, 32), [PROJECTED, B], None, cpu, half, by_the_clock)
    assert timed.winner() == PROJECTED
    assert 0 < timed.seconds[PROJECTED] < 1
    assert "NotImplementedError" in timed.left_out[B]
    timed = time_kernels(Shape(4, 50, 50, 64, 64), [A, B], None, cpu, half, by_the_clock)
    assert timed.winner() is None
    assert list(timed.left_out) == [A, B]


HOPPER = Gpu((9, 0), 91002, has_triton=True)
TINY = large_attentions(config_for("tiny"))


def choose(faster: list[str], shapes: list[Shape] = TINY, only: str = "") -> list[str]:
    """Choose on a Hopper GPU on which the times of kernels are in the order of `faster`."""

    def timer(shape: Shape, kernels: list[Kernel], wide: Kernel | None) -> Measured:
        assert not shape.is_narrow or wide is not None, "the kernel for projected values is chosen first"
        return Measured({kernel: 1.0 + faster.index(kernel.name) for kernel in kernels}, {})

    return kernel_choice._choose(shapes, torch.device("cuda:0"), torch.bfloat16, HOPPER, only, timer)


def names(is_alone: bool = True) -> list[str]:
    known = {use: kernel for use, kernel in kernel_choice._chosen.items() if use.is_alone == is_alone}
    return [kernel.name if kernel else "" for kernel in known.values()]


def test_each_attention_of_a_model_gets_its_fastest_kernel_once(monkeypatch):
    monkeypatch.setattr(kernel_choice, "_chosen", {})
    lines = choose([CUDNN, TRITON, EFFICIENT, FLASH, PROJECTED.name])
    assert [line.split(" (")[0] for line in lines] == [
        "96: cudnn",
        "256: cudnn",
        "256 to memory: efficient",
        "256 over 64: triton 128x128x8x2",
    ]
    assert names() == [CUDNN, CUDNN, EFFICIENT, TRITON]
    assert names(is_alone=False) == [EFFICIENT, EFFICIENT, EFFICIENT, TRITON]
    assert choose([PROJECTED.name, FLASH, CUDNN, EFFICIENT, TRITON]) == [], "what is known is not timed again"
    large = choose([PROJECTED.name, FLASH, CUDNN, EFFICIENT, TRITON], large_attentions(config_for("large")))
    assert [line.split(" (")[0] for line in large] == ["72: flash"]


def test_a_requested_kernel_replaces_the_chosen_one(monkeypatch):
    monkeypatch.setattr(kernel_choice, "_chosen", {})
    order = [CUDNN, TRITON, EFFICIENT, FLASH, PROJECTED.name]
    choose(order)
    choose(order, only=FLASH)
    assert names() == [FLASH, FLASH, FLASH, PROJECTED.name]
    choose(order, only=TRITON)
    assert names() == [CUDNN, CUDNN, EFFICIENT, TRITON]
    with pytest.raises(
        UserError, match=r"attention kernel 'triton' on cuda:0.*this model has small attentions only"
    ):
        choose(order, large_attentions(config_for("tiny").at_image_size(128)), only=TRITON)
    assert names() == [CUDNN, CUDNN, EFFICIENT, TRITON]


def test_a_name_that_is_no_kernel_is_one_line():
    with pytest.raises(
        UserError, match="attention kernel 'fast': expected one of flash, cudnn, efficient, triton"
    ):
        choose_kernels(
            large_attentions(config_for("tiny")), torch.device("cuda:0"), torch.bfloat16, only="fast"
        )


def test_nothing_is_chosen_on_a_cpu():
    load_model("nano", device="cpu", precision="bf16", image_size=256)
    assert kernel_choice.kernels_chosen(torch.device("cpu"), torch.bfloat16) == {}
    q = torch.randn(1, 1, 1024, 256)
    with torch.inference_mode():
        assert chosen_kernel(q, q.shape[2], 256) is None


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Choices as a timing on a GPU could have stored them; nothing runs on it."""
    device, dtype = torch.device("cuda:0"), torch.bfloat16
    use = kernel_choice._Use(device, dtype, 256, 256, keys_grow=False, is_alone=True)
    known = {
        use: Kernel(CUDNN),
        use._replace(is_alone=False): A,
        use._replace(keys_grow=True): B,
        use._replace(keys_grow=True, value_channels=64): C,
        use._replace(keys_grow=True, value_channels=64, is_alone=False): PROJECTED,
    }
    monkeypatch.setattr(kernel_choice, "_chosen", known)
    return device


@torch.inference_mode()
def test_what_was_chosen_is_found_by_sizes_and_named(chosen):
    assert kernel_choice.kernels_chosen(chosen, torch.bfloat16) == {
        "256": "cudnn",
        "256 to memory": "efficient",
        "256 over 64": "triton 128x64x8x3",
    }
    assert kernel_choice.kernels_chosen(chosen, torch.float16) == {}
    with FakeTensorMode():
        few, one, memory = (
            torch.empty(1, 1, n, 256, device=chosen, dtype=torch.bfloat16) for n in (200, 1024, 4100)
        )
        two = one.expand(2, -1, -1, -1)
        assert chosen_kernel(one, one.shape[2], 256) == Kernel(CUDNN)
        assert chosen_kernel(two, two.shape[2], 256) == A
        assert chosen_kernel(one, memory.shape[2], 64) == C
        assert narrow_values_pay(one, memory.shape[2], 64)
        assert not narrow_values_pay(two, memory.shape[2], 64)
        half = torch.empty_like(one, dtype=torch.float16)
        assert chosen_kernel(half, half.shape[2], 256) is None
        assert chosen_kernel(few, one.shape[2], 256) is None, "small: PyTorch chooses"
        with torch.inference_mode(False), torch.enable_grad():
            assert chosen_kernel(one, one.shape[2], 256) is None, "these kernels give no gradients"


@torch.inference_mode()
def test_a_compiler_takes_the_choice_in_and_one_graph_serves_all_lengths_of_a_memory(chosen):
    graphs = []

    def record(graph: torch.fx.GraphModule, inputs: object) -> Callable:
        graphs.append({str(node.target) for node in graph.graph.nodes})
        return graph.forward

    def to_memory(q, k, v, projection):
        if narrow_values_pay(q, k.shape[2], v.shape[-1]):
            return attend(q, k, v) @ projection
        return attend(q, k, v @ projection)

    torch.compiler.reset()
    compiled = torch.compile(to_memory, backend=record, fullgraph=True)
    with FakeTensorMode():

        def empty(*sizes: int) -> torch.Tensor:
            return torch.empty(*sizes, device=chosen, dtype=torch.bfloat16)

        q, projection = empty(1, 1, 1024, 256), empty(64, 256)
        for length in (1028, 5000, 7232):
            k, v = empty(1, 1, length, 256), empty(1, 1, length, 64)
            for x in (k, v):
                torch._dynamo.maybe_mark_dynamic(x, 2)
            assert compiled(q, k, v, projection).shape == (1, 1, 1024, 256)
        assert len(graphs) == 1
        assert "sam2_ros.triton_attention.default" in graphs[0]
        torch.compile(attend, backend=record, fullgraph=True)(q, q, q)
    assert "aten._scaled_dot_product_cudnn_attention" in graphs[1]


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda:0")


@pytest.mark.gpu
@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_on_a_gpu_what_is_chosen_is_attention(gpu, dtype, monkeypatch):
    monkeypatch.setattr(kernel_choice, "_chosen", {})
    choose_kernels(large_attentions(config_for("tiny").at_image_size(512)), gpu, dtype)
    assert set(kernel_choice.kernels_chosen(gpu, dtype)) == {"96", "256", "256 to memory", "256 over 64"}
    tolerance = 1e-3 if dtype == torch.float32 else 2e-2
    for batch in (1, 3):
        q = torch.randn(1, 1, 1024, 256, device=gpu, dtype=dtype).expand(batch, -1, -1, -1)
        k = torch.randn(batch, 1, 7232, 256, device=gpu, dtype=dtype)
        v = k[..., : 64 if narrow_values_pay(q, k.shape[2], 64) else 256].contiguous()
        exact = (q.double() @ k.double().transpose(2, 3) / 16).softmax(dim=-1) @ v.double()
        found = attend(q, k, v).double()
        assert (found - exact).square().mean().sqrt() < tolerance * exact.square().mean().sqrt()


@pytest.mark.gpu
def test_on_a_gpu_a_kernel_can_be_requested(gpu, monkeypatch):
    monkeypatch.setattr(kernel_choice, "_chosen", {})
    choose_kernels(
        large_attentions(config_for("tiny").at_image_size(512)), gpu, torch.bfloat16, only=EFFICIENT
    )
    assert set(kernel_choice.kernels_chosen(gpu, torch.bfloat16).values()) == {EFFICIENT}
    with pytest.raises(UserError, match=r"attention kernel 'flash' on cuda:0 in torch\.float32"):
        choose_kernels(large_attentions(config_for("tiny")), gpu, torch.float32, only=FLASH)
