# SPDX-License-Identifier: Apache-2.0
"""Counts how often the host waits for the device on a tracked frame: only to read results.

On a CPU nothing waits: the calls that would wait on a GPU are counted.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from sam2_ros.engine import Prompt, Tracker, TrackerConfig
from sam2_ros.engine.device.transfer import upload
from sam2_ros.weights.load import load_model

READS = {"tolist", "item", "cpu", "__bool__", "__int__", "__float__", "__index__", "nonzero"}
UPLOADS = {"tensor", "as_tensor", "new_tensor"}


class _Calls(TorchFunctionMode):
    """Counts calls of PyTorch that read a tensor on the host, or make a tensor from numbers of the host."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in READS:
            self.reads[name] += 1
        if name in UPLOADS:
            self.uploads[name] += 1
        return func(*args, **(kwargs or {}))


class _Dispatched(TorchDispatchMode):
    """Counts operators whose result is a number on the host, or has a size that the host must read."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in {
            "_local_scalar_dense",
            "nonzero",
            "masked_select",
            "is_nonzero",
            "unique_dim",
            "_unique2",
        }:
            self.waits[name] += 1
        if name in {"index", "index_put", "index_put_"} and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        ):
            self.waits["index by a mask"] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def nano():
    # Unprepared: memory attention prepared for a CPU may read its own sums, which is not a transfer.
    return load_model("nano", device="cpu", precision="fp32", image_size=128).unprepared


@pytest.mark.parametrize(
    ("memory_policy", "reads"),
    [
        # masks and logits, and the scores of all objects
        ("official", {"cpu": 2, "tolist": 1}),
        # the scores before that, too: they decide what is remembered
        ("visible", {"cpu": 2, "tolist": 2}),
    ],
)
def test_a_tracked_frame_waits_for_the_device_only_to_read_results(nano, memory_policy, reads):
    tracker = Tracker(nano, TrackerConfig(memory_policy=memory_policy))
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    tracker.step(image, [Prompt("a", box=(10, 10, 50, 60)), Prompt("b", box=(60, 20, 100, 80))])
    tracker.step(image)
    with _Dispatched() as dispatched, _Calls() as calls:
        result = tracker.step(image)
    assert len(result.objects) == 2
    assert calls.reads == reads
    assert calls.uploads == {}
    assert dispatched.waits == {}


def test_the_counters_count():
    with _Dispatched() as dispatched, _Calls() as calls:
        x = torch.tensor([1.0, 0.0])
        if x[0]:
            x[x > 0].sum().item()
            x.nonzero()
    assert calls.reads == {"__bool__": 1, "item": 1, "nonzero": 1}
    assert calls.uploads == {"tensor": 1}
    assert dispatched.waits.keys() >= {"index by a mask", "nonzero", "_local_scalar_dense"}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_uploaded_values_are_unchanged(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for given in ([3, 1, 2], [True, False], np.arange(6, dtype=np.float32).reshape(2, 3)):
        there = upload(given, torch.device(device))
        assert there.device.type == device
        np.testing.assert_array_equal(there.cpu().numpy(), np.asarray(given))
