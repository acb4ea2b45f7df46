# SPDX-License-Identifier: Apache-2.0
"""Runs one exported stage with onnxruntime: checked names and shapes in, tensors out.

The one place that imports onnxruntime. Does not know what a stage computes.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam2_ros.errors import CheckpointError

from .layout import ExportLayout

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
IDENTITY = ("model", "version", "image_size", "precision", "objects", "weights")
"""What of a layout every graph carries in its metadata, so that files of two exports are not mixed."""


def import_package(name: str, needed_by: str) -> Any:
    """One of the extra `onnx`. Raises CheckpointError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CheckpointError(
            f"{name} cannot be imported ({error}); {needed_by} needs it: pip install sam2_ros[onnx]"
        ) from None


def import_onnxruntime() -> Any:
    """Raises CheckpointError where it is not installed."""
    return import_package("onnxruntime", "backend onnx")


def provider_for(device: str) -> tuple[str, dict[str, int]]:
    """onnxruntime's name of a device, and its options. "auto" is a GPU when this onnxruntime can use one.

    Raises CheckpointError: another kind of device, or one that this onnxruntime cannot use.
    """
    available = import_onnxruntime().get_available_providers()
    kind, _, index = device.partition(":")
    if kind == "auto":
        kind = "cuda" if PROVIDERS["cuda"] in available else "cpu"
    if kind not in PROVIDERS or (index and not index.isdigit()):
        raise CheckpointError(f"device '{device}': backend onnx expects auto, cpu or cuda:N")
    if PROVIDERS[kind] not in available:
        raise CheckpointError(
            f"device '{device}': this onnxruntime has {', '.join(available)}; use cpu, or install onnxruntime-gpu"
        )
    return PROVIDERS[kind], {"device_id": int(index or 0)} if kind == "cuda" else {}


def device_for(device: str) -> str:
    """What onnxruntime would use, as PyTorch names it: "cpu" or "cuda:0". Raises what `provider_for` raises."""
    provider, options = provider_for(device)
    return f"cuda:{options['device_id']}" if provider == PROVIDERS["cuda"] else "cpu"


class StageSession:
    """One graph, ready to run."""

    def __init__(self, folder: Path, stage: str, layout: ExportLayout, device: str = "cpu") -> None:
        """Open a stage's file. Raises CheckpointError: missing, unreadable, or not of this export."""
        runtime = import_onnxruntime()
        self.path = folder / f"{stage}.onnx"
        self.inputs, self.outputs = layout.inputs(stage), layout.outputs(stage)
        if not self.path.is_file():
            raise CheckpointError(f"{self.path} is missing: export the model again")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that spin between two stages would take the cores from PyTorch and from ROS.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        provider = provider_for(device)
        try:
            self.session = runtime.InferenceSession(str(self.path), options, providers=[provider])
        except Exception as error:  # onnxruntime has a class of its own for every way a file can be wrong
            first_line = (str(error).splitlines() or [""])[0]
            raise CheckpointError(
                f"{self.path} is not a graph that onnxruntime can run ({first_line}): export the model again"
            ) from None
        if provider[0] not in self.session.get_providers():
            raise CheckpointError(f"{self.path}: onnxruntime could not start {provider[0]}; use device cpu")
        self._check(layout)

    def _check(self, layout: ExportLayout) -> None:
        held = self.session.get_modelmeta().custom_metadata_map
        for name in IDENTITY:
            if held.get(name) != str(getattr(layout, name)):
                raise CheckpointError(
                    f"{self.path} has {name} {held.get(name, 'unknown')}, its folder says {getattr(layout, name)}: "
                    "the files are of two exports; export the model again"
                )
        for kind, expected, found in (
            ("inputs", self.inputs, self.session.get_inputs()),
            ("outputs", self.outputs, self.session.get_outputs()),
        ):
            shapes = {entry.name: tuple(entry.shape) for entry in found}
            if shapes != expected:
                raise CheckpointError(
                    f"{self.path} has {kind} {shapes}, expected {expected}: export the model again"
                )

    def __call__(self, tensors: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """Run it: `tensors` by name, with exactly the shapes of `inputs`; the outputs in their order, on the CPU."""
        arrays = {}
        for name in self.inputs:
            dtype = np.int64 if name == "slots" else np.float32
            arrays[name] = np.ascontiguousarray(tensors[name].detach().cpu().numpy(), dtype)
        return [torch.from_numpy(output) for output in self.session.run(list(self.outputs), arrays)]
