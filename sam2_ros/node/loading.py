# SPDX-License-Identifier: Apache-2.0
"""Loads the model of the node's parameters, warms it up, makes its trackers, and frees device memory afterwards.

Knows models and trackers; no ROS.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass, fields

import torch

from sam2_ros.engine import Sam2Model, Tracker, TrackerConfig
from sam2_ros.engine.compiled import CompiledModel
from sam2_ros.engine.kernels.gpu_choice import kernels_chosen
from sam2_ros.engine.warm_up import warm_up
from sam2_ros.weights.open_model import ModelOptions, open_model

from .parameters.params import NodeParams


@dataclass(frozen=True)
class Loaded:
    """A model on its device, the stream's tracker, and the catch-up tracker for late prompts."""

    model: Sam2Model
    tracker: Tracker
    catch_up_tracker: Tracker

    @property
    def precision(self) -> str:
        """Number format of the arithmetic, such as "bfloat16"."""
        return str(self.model.compute_dtype).removeprefix("torch.")

    def values(self) -> dict[str, str]:
        """Key-value pairs for /diagnostics: device, number format, and memory in MB.

        `memory_bank_mb` is the size of both trackers' banks, which is constant. Only on a GPU: `device_memory_mb` is
        this process's memory in tensors, `device_reserved_mb` the same with PyTorch's cache.
        """
        device = self.model.device
        held_bytes = {"memory_bank_mb": self.tracker.bank_bytes + self.catch_up_tracker.bank_bytes}
        if device.type == "cuda":
            held_bytes["device_memory_mb"] = torch.cuda.memory_allocated(device)
            held_bytes["device_reserved_mb"] = torch.cuda.memory_reserved(device)
        memory = {name: f"{count / 1e6:.1f}" for name, count in held_bytes.items()}
        return {"device": str(device), "precision": self.precision, **memory}

    @property
    def summary(self) -> str:
        millions = self.model.parameter_count / 1e6
        threads = f", {torch.get_num_threads()} threads" if self.model.device.type == "cpu" else ""
        config = self.model.config
        compiled = f", {self.model.summary}" if isinstance(self.model, CompiledModel) else ""
        kernels = kernels_chosen(self.model.device, self.model.compute_dtype)
        attention = "".join(f", attention {channels}: {kernel}" for channels, kernel in kernels.items())
        return (
            f"model {config.name} ({millions:.1f} M parameters, {self.model.device} {self.precision}{threads}, "
            f"input {config.image_size} px{compiled}{attention})"
        )


def load(params: NodeParams) -> Loaded:
    """Load the model, compile it if asked, warm it up and make its trackers. Raises what `open_model` raises."""
    config = tracker_config(params)
    options = ModelOptions(**{field.name: getattr(params, field.name) for field in fields(ModelOptions)})
    if options.backend == "onnx" or options.resolved().device == "cpu":
        _leave_a_core()  # first: onnxruntime starts its threads when it opens the model
    model = open_model(options, config)
    warm_up(model, config)
    return Loaded(model, Tracker(model, config), Tracker(model, config))


def tracker_config(params: NodeParams) -> TrackerConfig:
    """The parameters of the tracker, as its configuration."""
    return TrackerConfig(
        max_objects=params.max_objects,
        memory_frames=params.memory_frames,
        max_conditioning_frames=params.max_conditioning_frames,
        memory_policy=params.memory_policy,
        policies=tuple(entry for entry in params.policies if entry),
        present_on=params.present_on,
        present_off=params.present_off,
        lost_after_s=params.lost_after,
        forget_after_s=params.forget_after,
    )


def _leave_a_core() -> None:
    """Run inference on all cores but one, unless the user has set OMP_NUM_THREADS.

    The last core is for ROS messages and the camera's driver. The threads of one inference wait for each other at every
    layer, so one shared core slows all of them: on two cores, the slowest images of the demo take up to twice as long
    with two threads as with one (docs/explanation/performance.md).
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))


def out_of_memory(error: Exception) -> bool:
    """True if an exception says that the device or the computer has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # PyTorch's on a CPU


def free_device_memory() -> None:
    """Return unused memory to the GPU driver, if there is a GPU, and to the operating system.

    glibc keeps freed memory: without this, a node keeps most of its model's memory after cleanup.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
