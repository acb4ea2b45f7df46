# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros export`: writes a model's stages as files that other runtimes execute.

Does not export: reads arguments, shows progress, a table and one JSON line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import output as show
from .options import OUT_HELP, ImageSizeOption, JsonOption, OverwriteOption

FORMATS = ("onnx",)


def export(
    name: Annotated[
        str, typer.Argument(help="A name from `sam2-ros models list`, or the path of a checkpoint.")
    ],
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    format: Annotated[str, typer.Option("--format", help="File format: onnx.")] = "onnx",
    objects: Annotated[
        int,
        typer.Option(
            help="Most objects tracked at once. The graphs always compute this many, even if fewer are tracked."
        ),
    ] = 4,
    image_size: ImageSizeOption = 0,
    precision: Annotated[str, typer.Option(help="Number format inside the graphs: fp32, fp16.")] = "fp32",
    conditioning_frames: Annotated[int, typer.Option(help="Most prompted frames in memory, per object.")] = 4,
    memory_frames: Annotated[
        int, typer.Option(help="Frames in memory per object, 1..7: one prompted, the others recent.")
    ] = 7,
    points: Annotated[int, typer.Option(help="Most clicks and box corners of one prompt.")] = 8,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the image encoder, memory attention, mask decoder and memory encoder as ONNX graphs of fixed shape.

    Writes the graphs and their description to --out, and compares every graph
    with PyTorch. Run them with `--backend onnx --model DIR`;
    docs/how-to/export.md describes TensorRT.
    """
    if format not in FORMATS:
        raise typer.BadParameter(f"--format '{format}': expected {', '.join(FORMATS)}")
    from sam2_ros.backends.onnx.export import ExportConfig, run_export
    from sam2_ros.weights.open_model import ModelOptions, open_model

    model = ModelOptions(name, device="cpu", precision="fp32", image_size=image_size)
    config = ExportConfig(out, precision, objects, conditioning_frames, memory_frames, points, overwrite)
    with show.progress_bar("loading the model") as bar:
        summary = run_export(
            config, lambda: open_model(model), model.files(), lambda step: bar.show(step, 0, None)
        )
    errors = {f"  {stage} differs by": f"{error:.1e} of rms" for stage, error in summary["max_error"].items()}
    sizes = {f"  {file}": f"{size / 1e6:.1f} MB" for file, size in summary["bytes"].items()}
    shown = {key: value for key, value in summary.items() if key not in ("max_error", "bytes")}
    show.print_table("sam2-ros export", shown | errors | sizes)
    show.print_json(as_json, summary)
