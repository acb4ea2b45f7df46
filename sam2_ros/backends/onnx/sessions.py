# SPDX-License-Identifier: Apache-2.0
"""Runs one exported stage in onnxruntime, after checking the names and shapes of its inputs and outputs.

The only place that imports onnxruntime. Does not know what a stage computes.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam2_ros.errors import CheckpointError

from .layout import MANIFEST, ExportLayout

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
IDENTITY = ("model", "version", "image_size", "precision", "objects", "weights")
"""Fields of the layout that are stored in the metadata of each graph, so that mixed files of two exports are found."""


def import_package(name: str, needed_by: str) -> Any:
    """Import a package of the extra `onnx`. Raises CheckpointError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CheckpointError(
            f"{name} cannot be imported ({error}); {needed_by} needs it: pip install sam2_ros[onnx]"
        ) from None


def import_onnxruntime() -> Any:
    """Import onnxruntime. Raises CheckpointError if it is not installed."""
    return import_package("onnxruntime", "backend onnx")


def provider_for(device: str) -> tuple[str, dict[str, int]]:
    """onnxruntime's execution provider for a device, and its options. "auto" = a GPU if onnxruntime can use one.

    Raises:
        CheckpointError: an unknown kind of device, or one that this onnxruntime cannot use.
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
    """The device that onnxruntime would use, by PyTorch's name: "cpu" or "cuda:N". Raises as `provider_for`."""
    provider, options = provider_for(device)
    return f"cuda:{options['device_id']}" if provider == PROVIDERS["cuda"] else "cpu"


class StageSession:
    """The graph of one stage, ready to run."""

    def __init__(self, folder: Path, stage: str, layout: ExportLayout, device: str = "cpu") -> None:
        """Open the file of a stage. Raises CheckpointError if it is missing, unreadable, or not of this export."""
        runtime = import_onnxruntime()
        self.path = folder / f"{stage}.onnx"
        self.inputs, self.outputs = layout.inputs(stage), layout.outputs(stage)
        if not self.path.is_file():
            raise CheckpointError(f"{self.path} is missing: export the model again")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that spin between two stages would keep cores from PyTorch and ROS.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        provider = provider_for(device)
        try:
            self.session = runtime.InferenceSession(str(self.path), options, providers=[provider])
        except Exception as error:  # onnxruntime raises many kinds for broken files
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
                    f"{self.path} has {name} {held.get(name, 'unknown')}, {MANIFEST} has {getattr(layout, name)}: "
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
        """Run the graph.

        Args:
            tensors: by name, with exactly the shapes of `inputs`.

        Returns:
            The outputs in the order of `outputs`, on the CPU.
        """
        arrays = {}
        for name in self.inputs:
            dtype = np.int64 if name == "slots" else np.float32
            arrays[name] = np.ascontiguousarray(tensors[name].detach().cpu().numpy(), dtype)
        return [torch.from_numpy(output) for output in self.session.run(list(self.outputs), arrays)]
