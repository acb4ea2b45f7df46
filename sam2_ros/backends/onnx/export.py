# SPDX-License-Identifier: Apache-2.0
"""Writes a model's stages as ONNX graphs of fixed shape, and checks each against PyTorch in onnxruntime.

Does not know command lines, or how the graphs are used.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sam2_ros.atomic_write import atomic_write
from sam2_ros.engine.kernels.layers import plain_operators
from sam2_ros.engine.kernels.prepare import prepare
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.errors import CheckpointError
from sam2_ros.result_folder.folder import ResultFolder

from .check import engine_outputs, example_inputs, largest_error
from .fold_shapes import fold_shapes
from .graphs import GRAPHS
from .layout import FILES, MANIFEST, TABLES, ExportLayout
from .sessions import IDENTITY, StageSession, import_onnxruntime, import_package

OPSET = 17  # the first with LayerNormalization; TensorRT 8.6 and later read it
TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}
"""Largest difference of an export to PyTorch in float32, relative to the root mean square of the output."""
HOST_PARTS = (
    "sam_prompt_encoder.",
    "mask_downsample.",
    "obj_ptr_proj.",
    "no_mem_embed",
    "no_mem_pos_enc",
    "no_obj_ptr",
)
"""Prefixes of the parameters that are used outside of the graphs."""


@dataclass(frozen=True)
class ExportConfig:
    """Folder and shapes of an export, see `ExportLayout`."""

    out: Path
    precision: str = "fp32"
    objects: int = 4
    conditioning_frames: int = 4
    memory_frames: int = 7
    points: int = 8
    overwrite: bool = False  # see `ResultFolder`


def run_export(
    config: ExportConfig,
    load: Callable[[], Sam2Model],
    sources: Sequence[Path] = (),
    on_progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Export a model; returns what `sam2-ros export --json` prints.

    Args:
        config: folder and shapes.
        load: returns the model, on the CPU and in float32; called after everything else was checked.
        sources: files of the model, which the export must not replace.
        on_progress: called with the name of each stage before it is exported.

    Raises:
        UserError: something is not possible or not installed; also errors of `load`. An earlier export is unchanged.
    """
    import_onnx()
    import_onnxruntime()
    inputs = [("the model", source) for source in sources]
    folder = ResultFolder(config.out, "export", FILES, inputs, config.overwrite)
    model = load()
    layout = ExportLayout(
        model.config.name,
        model.config.version,
        model.config.image_size,
        config.precision,
        config.objects,
        config.conditioning_frames,
        min(config.memory_frames - 1, model.config.recent_memories),
        config.points,
        weights_digest(model),
        model.parameter_count,
    )
    with folder:
        made = export_onnx(model, layout, folder.staging, on_progress)
    return {"out": str(config.out), **asdict(layout), **made}


def import_onnx() -> Any:
    """Import onnx, which PyTorch's exporter needs, too. Raises CheckpointError if it is not installed."""
    return import_package("onnx", "the export")


def weights_digest(model: Sam2Model) -> str:
    """SHA-256 over names and values of all tensors, hexadecimal."""
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def export_onnx(
    model: Sam2Model, layout: ExportLayout, out: Path, on_progress: Callable[[str], None] = lambda step: None
) -> dict[str, Any]:
    """Write the graphs, the tables and the manifest to a folder, and compare every graph with PyTorch.

    Args:
        model: on the CPU, in float32.
        layout: the shapes.
        out: the folder.
        on_progress: called with the name of each stage before it is exported.

    Returns:
        `max_error` by stage and `bytes` by file.

    Raises:
        CheckpointError: onnx or onnxruntime is missing, or a stage differs from PyTorch by more than `TOLERANCE`.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)  # written last, so that a failed export has none
    stored = copy.deepcopy(model.unprepared).to(torch.float16) if layout.precision == "fp16" else model
    stored = prepare(stored, half_split=True, narrow_values=True)
    errors = {}
    for stage in layout.stages:
        on_progress(stage)
        inputs = example_inputs(model, layout, stage)
        with plain_operators():
            _write_graph(GRAPHS[stage](stored, layout).eval(), inputs, stage, layout, out)
        errors[stage] = largest_error(
            StageSession(out, stage, layout)(inputs), engine_outputs(model, stage, inputs)
        )
        if not errors[stage] <= TOLERANCE[layout.precision]:  # NaN too
            raise CheckpointError(
                f"{stage}.onnx differs from PyTorch by {errors[stage]:.2g} of its root mean square, at most "
                f"{TOLERANCE[layout.precision]} expected: export with --precision fp32"
            )
    state = model.state_dict()
    tables = {key: state[key].numpy() for key in state if key.startswith(HOST_PARTS)}
    np.savez(out / TABLES, weights=np.array(layout.weights), **tables)
    manifest = layout.write(out, errors)
    files = [*(out / f"{stage}.onnx" for stage in layout.stages), out / TABLES, manifest]
    return {"max_error": errors, "bytes": {path.name: path.stat().st_size for path in files}}


def _write_graph(
    graph: nn.Module, inputs: dict[str, torch.Tensor], stage: str, layout: ExportLayout, out: Path
) -> None:
    onnx = import_onnx()
    with atomic_write(out / f"{stage}.onnx") as partial:
        # Run once first: cached tables, such as position encodings, then become constants of the trace.
        graph(*inputs.values())
        with warnings.catch_warnings():
            # Warnings on fixed shapes, which are intended, and on this exporter; the newer one needs onnxscript.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph,
                tuple(inputs.values()),
                str(partial),
                input_names=list(inputs),
                output_names=list(layout.outputs(stage)),
                opset_version=OPSET,
                dynamo=False,
            )
        written = fold_shapes(onnx.load(str(partial)), layout.outputs(stage))
        for name in IDENTITY:
            entry = written.metadata_props.add()
            entry.key, entry.value = name, str(getattr(layout, name))
        onnx.save(written, str(partial))
