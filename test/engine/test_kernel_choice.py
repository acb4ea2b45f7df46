"""The choice among attention kernels: by time, never of one that fails or is wrong, and found again by a compiler."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from sam2_ros.engine import config_for, kernel_choice
from sam2_ros.engine.attention import attention, narrow_values_pay
from sam2_ros.engine.attention_kernels import CUDNN, EFFICIENT, FLASH, OURS, PROJECTED, Kernel, Tiles
from sam2_ros.engine.kernel_choice import KernelError, Measured, choose_kernels, chosen_kernel, measure
from sam2_ros.weights import load_model

A, B, C = Kernel(FLASH), Kernel(EFFICIENT), Kernel(OURS, Tiles(128, 64, 8, 3))


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

    measured = measure(calls, exact(), clock)
    assert measured == Measured({A: 3.0, B: 2.0}, {})
    assert order == [A, B, A, B, A, B], "in turns, so that a device that slows down slows all of them"
    assert measured.winner() == B


def test_a_kernel_that_fails_or_is_wrong_is_left_out_and_named():
    def refuse() -> torch.Tensor:
        raise RuntimeError("head_dim should be no more than 128\nsecond line")

    calls = {A: refuse, B: lambda: exact() * 1.05, C: lambda: exact() * float("nan"), PROJECTED: exact}
    measured = measure(calls, exact(), lambda call: 1e-3)
    assert measured.winner() == PROJECTED
    assert str(measured) == (
        "projected (projected 1.000 ms; not flash: RuntimeError: head_dim should be no more than 128; "
        "not efficient: its answer is wrong, rms error 0.05 of the answer's; "
        "not triton 128x64x8x3: its answer is wrong, rms error nan of the answer's)"
    )


def test_none_that_runs_is_pytorchs_choice():
    measured = measure({}, exact(), lambda call: 1.0)
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


def test_kernels_are_timed_by_a_real_clock_on_real_attention():
    """What happens on a GPU, with kernels of a CPU: the one that does the work four times takes longer."""
    import time

    q, k = torch.randn(1, 1, 256, 64), torch.randn(1, 1, 1024, 64)

    def clock(call) -> float:
        begun_s = time.perf_counter()
        call()
        return time.perf_counter() - begun_s

    def once() -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, k)

    def four_times() -> torch.Tensor:
        return [once() for _ in range(4)][-1]

    assert measure({A: four_times, B: once}, once(), clock).winner() == B


def test_a_name_that_is_no_kernel_is_one_line():
    with pytest.raises(
        KernelError, match="attention kernel 'fast': expected one of flash, cudnn, efficient, triton"
    ):
        choose_kernels(config_for("tiny"), torch.device("cuda:0"), torch.bfloat16, only="fast")


def test_nothing_is_chosen_on_a_cpu():
    load_model("nano", device="cpu", precision="bf16", image_size=256)
    assert kernel_choice.kernels_chosen(torch.device("cpu"), torch.bfloat16) == {}
    q = torch.randn(1, 1, 1024, 256)
    assert chosen_kernel(q, q, 256) is None


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """As a GPU's timing might have left it; nothing runs there."""
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
        assert chosen_kernel(one, one, 256) == Kernel(CUDNN)
        assert chosen_kernel(two, two, 256) == A
        assert chosen_kernel(one, memory, 64) == C
        assert narrow_values_pay(one, memory, 64)
        assert not narrow_values_pay(two, memory, 64)
        half = torch.empty_like(one, dtype=torch.float16)
        assert chosen_kernel(half, half, 256) is None
        assert chosen_kernel(few, one, 256) is None, "small: PyTorch chooses"
        assert chosen_kernel(one.requires_grad_(), one, 256) is None, "these kernels give no gradients"


@torch.inference_mode()
def test_a_compiler_takes_the_choice_in_and_one_graph_serves_all_lengths_of_a_memory(chosen):
    graphs = []

    def record(graph: torch.fx.GraphModule, inputs: object) -> Callable:
        graphs.append({str(node.target) for node in graph.graph.nodes})
        return graph.forward

    def to_memory(q, k, v, projection):
        if narrow_values_pay(q, k, v.shape[-1]):
            return attention(q, k, v) @ projection
        return attention(q, k, v @ projection)

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
        assert "sam2_ros.narrow_attention.default" in graphs[0]
        torch.compile(attention, backend=record, fullgraph=True)(q, q, q)
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
    choose_kernels(config_for("tiny").at_image_size(512), gpu, dtype)
    assert set(kernel_choice.kernels_chosen(gpu, dtype)) == {"96", "256", "256 to memory", "256 over 64"}
    tolerance = 1e-3 if dtype == torch.float32 else 2e-2
    for batch in (1, 3):
        q = torch.randn(1, 1, 1024, 256, device=gpu, dtype=dtype).expand(batch, -1, -1, -1)
        k = torch.randn(batch, 1, 7232, 256, device=gpu, dtype=dtype)
        v = k[..., : 64 if narrow_values_pay(q, k, 64) else 256].contiguous()
        exact = (q.double() @ k.double().transpose(2, 3) / 16).softmax(dim=-1) @ v.double()
        found = attention(q, k, v).double()
        assert (found - exact).square().mean().sqrt() < tolerance * exact.square().mean().sqrt()


@pytest.mark.gpu
def test_on_a_gpu_a_kernel_can_be_asked_for(gpu, monkeypatch):
    monkeypatch.setattr(kernel_choice, "_chosen", {})
    choose_kernels(config_for("tiny").at_image_size(512), gpu, torch.bfloat16, only=EFFICIENT)
    assert set(kernel_choice.kernels_chosen(gpu, torch.bfloat16).values()) == {EFFICIENT}
    with pytest.raises(KernelError, match=r"attention kernel 'flash' on cuda:0 in torch\.float32"):
        choose_kernels(config_for("tiny"), gpu, torch.float32, only=FLASH)
