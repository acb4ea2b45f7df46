# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs: shared memory of their inputs, and on a GPU the same results as without them.

Tests that need a GPU run with `pytest -m gpu`; those that do not are in test_compiled.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compiled_streams import compiled_graphs, follow, largest_difference, noise, smallest

from sam2_ros.engine import Prompt, Tracker, TrackerConfig
from sam2_ros.engine.compiled import CompiledModel, compile_model
from sam2_ros.engine.device.cuda_graphs import CudaGraphs, SharedBuffers
from sam2_ros.weights.load import load_model


def test_smaller_inputs_share_the_memory_of_the_largest():
    buffers = SharedBuffers()
    large, small = torch.randn(4, 3, 5, 6).to(memory_format=torch.channels_last), torch.randn(2, 3, 5, 6)
    kept = buffers.like(("decode", 0), large)
    assert torch.equal(kept, large)
    assert kept.stride() == large.stride()
    shared = buffers.like(("decode", 0), small)
    assert torch.equal(shared, small)
    assert shared.data_ptr() == kept.data_ptr()
    assert buffers.like(("decode", 1), small).data_ptr() != kept.data_ptr()
    larger = buffers.like(("decode", 0), torch.randn(9, 3, 5, 6))
    assert larger.data_ptr() != kept.data_ptr(), "a graph that reads the old memory would read beyond its end"


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda:0")


@pytest.mark.gpu
@torch.inference_mode()
def test_a_graph_computes_with_the_inputs_of_this_call(gpu):
    calls = CudaGraphs(gpu)

    def function(x, times):
        return (x * times + 1,)

    one, other = torch.randn(3, 4, device=gpu), torch.randn(3, 4, device=gpu)
    calls.capture("double", function, (one, 2))
    assert calls.has("double", (other, 2))
    assert not calls.has("double", (other, 3))
    assert not calls.has("double", (other[:2], 2))
    first, second = calls.run("double", (one, 2)), calls.run("double", (other, 2))
    torch.testing.assert_close(first[0], one * 2 + 1)
    torch.testing.assert_close(second[0], other * 2 + 1)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["graphs", "max"])
@pytest.mark.parametrize("policy", ["official", "visible"])
def test_the_same_answers_as_without(gpu, mode, policy, tmp_path):
    """Objects are added one after another, corrected, lose their memory, and are removed; in float32."""
    model, config = smallest().to(gpu), TrackerConfig(max_objects=5, memory_policy=policy)
    compiled = compile_model(model, mode, config, tmp_path)
    assert isinstance(compiled, CompiledModel)
    before, frames = compiled_graphs(), noise(60)
    difference = largest_difference(follow(compiled, config, frames), follow(model, config, frames))
    assert difference < 1e-2
    assert compiled_graphs() == before, "something was compiled while the stream ran"


@pytest.mark.gpu
def test_nano_in_bfloat16_agrees_with_eager(gpu, tmp_path):
    model, config = load_model("nano", device="cuda:0", precision="bf16"), TrackerConfig(max_objects=3)
    compiled = compile_model(model, "graphs", config, tmp_path)
    ours, theirs = (follow(each, config, noise(40)) for each in (compiled, model))
    same = [((a[id] > 0) == (b[id] > 0)).mean() for a, b in zip(ours, theirs, strict=True) for id in a]
    assert np.mean(same) > 0.99


@pytest.mark.gpu
def test_a_tracked_frame_with_a_full_memory_is_launched_as_graphs(gpu, tmp_path):
    model, config = smallest().to(gpu), TrackerConfig(max_objects=1, memory_policy="official")
    compiled = compile_model(model, "graphs", config, tmp_path)
    graphs, launches = _launches(compiled, config)
    assert graphs == 5  # encode, attend, decode, choose, memorise
    assert launches < 0.5 * _launches(model, config)[1]


def _launches(model, config: TrackerConfig) -> tuple[int, int]:
    """Launches for one frame with a full bank: of graphs, and of graphs and kernels together."""
    tracker, frames = Tracker(model, config), noise(20)
    tracker.step(frames[0], [Prompt("a", box=(5, 5, 30, 40))])
    for frame in frames[1:-1]:
        tracker.step(frame)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        tracker.step(frames[-1])
    counts = {event.key: event.count for event in profile.key_averages()}
    graphs = counts.get("cudaGraphLaunch", 0)
    kernels = sum(
        count for key, count in counts.items() if key.startswith(("cudaLaunchKernel", "cuLaunchKernel"))
    )
    return graphs, graphs + kernels
