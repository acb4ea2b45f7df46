# SPDX-License-Identifier: Apache-2.0
"""The parameter `compile` while the model is loaded. No ROS graph."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from sam2_ros.engine import Prompt
from sam2_ros.errors import UserError
from sam2_ros.node.loading import load
from sam2_ros.node.parameters.params import NodeParams


def test_graphs_without_a_gpu_are_refused():
    with pytest.raises(UserError, match="compile = 'graphs' on device 'cpu': expected a CUDA device"):
        load(NodeParams(device="cpu", compile="graphs", image_size=128))


@pytest.mark.slow
def test_max_is_compiled_when_the_node_is_loaded_and_not_later(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2_ROS_MODELS", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    loaded = load(NodeParams(device="cpu", compile="max", image_size=128, max_objects=1))
    assert "compile max: stages for 1 objects in" in loaded.summary
    assert list(tmp_path.glob("inductor-torch-*")) != []
    stats = torch._dynamo.utils.counters["stats"]
    before, image, objects = stats["unique_graphs"], np.zeros((96, 128, 3), np.uint8), []

    def stream() -> None:  # in a thread of its own, as the worker's
        for index in range(4):
            prompts = [Prompt("box", box=(10, 10, 60, 60))] if index == 0 else []
            for tracker in (loaded.tracker, loaded.catch_up_tracker):
                objects.extend(tracker.step(image, prompts).objects)

    thread = threading.Thread(target=stream)
    thread.start()
    thread.join()
    assert len(objects) == 8
    assert stats["unique_graphs"] == before > 0
