# SPDX-License-Identifier: Apache-2.0
"""A compiled model gives the results of the model, is compiled before its stream begins, and refuses what it cannot do.

On a CPU; tests that need a GPU are in test_cuda_graphs.py.
"""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
import torch
from compiled_streams import SMALLEST, compiled_graphs, follow, largest_difference, noise, smallest
from matching_models import matching_model

from sam2_ros.engine import Prompt, Tracker, TrackerConfig
from sam2_ros.engine.compiled import CompiledModel, buckets, compile_model, pad_by_last
from sam2_ros.engine.device.cuda_graphs import Function
from sam2_ros.engine.memory_bank import MemoryBank
from sam2_ros.errors import UserError
from sam2_ros.weights.load import load_model


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (1, (1,)),
        (2, (1, 2)),
        (5, (1, 2, 3, 4, 5)),
        (8, (1, 2, 3, 4, 6, 8)),
        (20, (1, 2, 3, 4, 6, 8, 12, 16, 20)),
    ],
)
def test_numbers_of_objects_that_are_compiled(largest, expected):
    assert buckets(largest) == expected


def test_padding_repeats_the_last_object_and_keeps_the_memory_format():
    x = torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last)
    filled = pad_by_last(x, 4)
    assert torch.equal(filled[:3], x)
    assert torch.equal(filled[3], x[2])
    assert filled.stride() == x.stride()
    assert pad_by_last(x, 3) is x


@torch.inference_mode()
def test_padding_objects_change_nothing():
    """Every stage of a model that is neither compiled nor captured, for 5 objects padded to 6."""
    model = smallest()
    filled = CompiledModel(model, "off", max_objects=7)
    assert filled.buckets == (1, 2, 3, 4, 6, 7)
    config = TrackerConfig(max_objects=7)
    frames = noise(24)
    assert largest_difference(follow(filled, config, frames), follow(model, config, frames)) < 1e-4


def test_off_is_the_model_itself(tmp_path):
    model = smallest()
    assert compile_model(model, "off", TrackerConfig(), tmp_path) is model


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("fast", "compile = 'fast': expected one of off, graphs, max"),
        (
            "graphs",
            "compile = 'graphs' on device 'cpu': expected a CUDA device.*use compile = 'max' or 'off'",
        ),
    ],
)
def test_a_mode_that_is_not_supported_is_one_line(tmp_path, mode, message):
    with pytest.raises(UserError, match=message) as error:
        compile_model(smallest(), mode, TrackerConfig(), tmp_path)
    assert "\n" not in str(error.value)


def test_more_objects_than_it_was_compiled_for_are_refused():
    tracker = Tracker(CompiledModel(smallest(), "off", max_objects=1), TrackerConfig(max_objects=2))
    frame = noise(1)[0]
    # Prompted frames use the part that is not compiled, except for the memory encoder.
    with pytest.raises(UserError, match=r"2 objects given; expected at most 1.*larger max_objects"):
        tracker.step(frame, [Prompt("a", box=(5, 5, 30, 40)), Prompt("b", box=(20, 5, 60, 40))])


class DirectCalls:
    """Stand-in for CudaGraphs without a GPU: records captures, counts runs, and calls the functions directly."""

    def __init__(self) -> None:
        self.captured: dict[tuple, Function] = {}
        self.runs: Counter[str] = Counter()

    @staticmethod
    def key(name, inputs) -> tuple:
        return (name, *(tuple(x.shape) if isinstance(x, torch.Tensor) else x for x in inputs))

    def has(self, name, inputs) -> bool:
        return self.key(name, inputs) in self.captured

    def capture(self, name, function, inputs) -> None:
        self.captured[self.key(name, inputs)] = function

    def run(self, name, inputs):
        self.runs[name] += 1
        return self.captured[self.key(name, inputs)](*inputs)


@torch.inference_mode()
@pytest.mark.parametrize("objects", [1, 3, 5])
def test_a_stream_runs_the_stages_that_were_captured(objects):
    """All stages on every frame, except memory attention: from the 16th frame after a prompt on."""
    model = CompiledModel(smallest(), "graphs", max_objects=6)
    model._graphs = DirectCalls()
    config = TrackerConfig(max_objects=6, max_conditioning_frames=2, memory_policy="official")
    model.compile_stages(config)
    assert model._graphs.runs.keys() == {"encode", "attend", "decode", "choose", "memorise"}
    model._graphs.runs.clear()
    tracker, frames = Tracker(model, config), noise(42)
    for index, frame in enumerate(frames):
        prompted = range(objects) if index in (0, 24) else ()
        tracker.step(frame, [Prompt(f"object {n}", box=(5 + n, 5, 30 + n, 40)) for n in prompted])
    # 16 to 24 with one prompted frame; from 40 on with two. On 25 to 30 the second prompted frame is missing among the
    # recent ones: the number of memories is the same as before.
    assert model._graphs.runs == {
        "encode": 42,
        "attend": 9 + 6 + 2,
        "decode": 41,
        "choose": 41,
        "memorise": 42,
    }


@torch.inference_mode()
def test_a_model_with_a_matching_memory_decodes_what_was_captured():
    """Tracked frames are decoded with evidence, for which the stage was captured; matching is not."""
    model = CompiledModel(matching_model(64), "graphs", max_objects=3)
    model._graphs = DirectCalls()
    config = TrackerConfig(max_objects=3, memory_policy="official")
    model.compile_stages(config)
    captured = set(model._graphs.captured)
    frames = noise(20)
    boxes = [Prompt(f"object {n}", box=(5 + n, 5, 30 + n, 40)) for n in range(3)]
    model._graphs.runs.clear()
    tracker = Tracker(model, config)
    logits = [
        [obj.logits for obj in tracker.step(frame, boxes[:2] if not n else ()).objects]
        for n, frame in enumerate(frames)
    ]
    # The model keeps spatial memories and pointers of prompted frames alone: their number is the same on every frame.
    assert model._graphs.runs == {"encode": 20, "attend": 19, "decode": 19, "choose": 19, "memorise": 1}
    assert set(model._graphs.captured) == captured
    tracker = Tracker(matching_model(64), config)
    for n, frame in enumerate(frames):
        for found, expected in zip(
            logits[n], tracker.step(frame, boxes[:2] if not n else ()).objects, strict=True
        ):
            assert np.abs(found - expected.logits).max() < 1e-2


def check_compiled(model, config: TrackerConfig, folder, monkeypatch, frames: np.ndarray) -> float:
    """Largest difference of logits. The stream runs in its own thread, as in the node."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    compiled = compile_model(model, "max", config, folder)
    assert any(folder.rglob("*.so")), "the kernels are not kept where they are to be"
    before, answers = compiled_graphs(), []
    assert before > 0
    thread = threading.Thread(target=lambda: answers.append(follow(compiled, config, frames)))
    thread.start()
    thread.join()
    assert compiled_graphs() == before, "something was compiled while the stream ran"
    return largest_difference(answers[0], follow(model, config, frames))


@pytest.mark.slow
@torch.inference_mode()
def test_memory_attention_is_compiled_once_for_all_ages_of_a_memory(tmp_path, monkeypatch):
    """From one frame to a full bank there are two graphs, one of them for a single frame."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model, bank = smallest(), MemoryBank(SMALLEST, 1, 2, 6, torch.device("cpu"))
    compiled, before = CompiledModel(model, "max", 1), compiled_graphs()
    s16 = torch.randn(1, SMALLEST.d_model, SMALLEST.grid, SMALLEST.grid)
    bank.write_conditioning(0, 0, torch.randn(SMALLEST.grid**2, 16), torch.randn(32))
    for now in range(1, 20):
        view = bank.view([0], now)
        torch.testing.assert_close(
            compiled.fuse_memory(s16, view), model.fuse_memory(s16, view), atol=1e-4, rtol=1e-4
        )
        bank.write_recents([0], now, torch.randn(1, SMALLEST.grid**2, 16), torch.randn(1, 32))
    assert 1 <= compiled_graphs() - before <= 2


@pytest.mark.slow
def test_max_answers_as_the_model_and_compiles_nothing_later(tmp_path, monkeypatch):
    config = TrackerConfig(max_objects=1, max_conditioning_frames=2, memory_policy="official")
    assert check_compiled(smallest(), config, tmp_path, monkeypatch, noise(30)) < 1e-3


@pytest.mark.slow
def test_max_with_several_objects(tmp_path, monkeypatch):
    config = TrackerConfig(max_objects=5, memory_policy="official")
    assert check_compiled(smallest(), config, tmp_path, monkeypatch, noise(30)) < 1e-3


@pytest.mark.slow
def test_max_with_nano(tmp_path, monkeypatch):
    config = TrackerConfig(max_objects=2, max_conditioning_frames=2, memory_policy="official")
    model = load_model("nano", device="cpu", precision="fp32")
    assert check_compiled(model, config, tmp_path, monkeypatch, noise(24)) < 1e-2


@pytest.mark.slow
def test_max_with_a_matching_memory(tmp_path, monkeypatch):
    model = matching_model(96)
    config = TrackerConfig(max_objects=2, max_conditioning_frames=1)
    assert check_compiled(model, config, tmp_path, monkeypatch, noise(20)) < 2e-2


@pytest.mark.slow
def test_without_a_c_plus_plus_compiler_max_is_one_line(tmp_path, monkeypatch):
    import torch._inductor.config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    expected = (
        r"compile = 'max' failed on device 'cpu' \(InvalidCxxCompiler.*install g\+\+, or use compile = 'off'"
    )
    with (
        torch._inductor.config.patch({"cpp.cxx": ("/nowhere/g++",)}),
        pytest.raises(UserError, match=expected) as error,
    ):
        compile_model(smallest(), "max", TrackerConfig(max_objects=1), tmp_path)
    assert "\n" not in str(error.value)
