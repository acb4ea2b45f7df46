# SPDX-License-Identifier: Apache-2.0
"""Options shared by several sub-commands of `sam2-ros`. Does not know what they are used for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from sam2_ros.errors import UserError

_IMAGE_SIZE_HELP = "Side of the model's square input in pixels, a multiple of 32. 0: the model's default."
ImageSizeOption = Annotated[int, typer.Option("--image-size", help=_IMAGE_SIZE_HELP)]
_MODEL_OPTIONS: dict[str, tuple[str | int, str]] = {  # fields of `ModelOptions`: default and help of each
    "model": ("nano", "Model: nano, tiny, small, base_plus, large, or the path of a checkpoint."),
    "device": ("auto", "Device: auto (a GPU if there is one), cpu, cuda, cuda:0."),
    "precision": (
        "auto",
        "Number format: auto (bf16 if the GPU, or a CPU with AMX or AVX512_BF16, is fast in it, else fp32), bf16, "
        "fp16, fp32.",
    ),
    "image_size": (0, _IMAGE_SIZE_HELP),
    "compile": (
        "off",
        "Compilation: off, graphs (CUDA graphs), max (generated kernels; takes minutes at the first start, cached for "
        "later ones).",
    ),
    "backend": (
        "torch",
        "Runtime: torch, or onnx with --model DIR, a folder written by `sam2-ros export`.",
    ),
}
RangeOption = Annotated[
    str,
    typer.Option(
        "--range",
        help="Conversion of images with more than 8 bits to 8: full (the high byte of 16 bits), percentiles (1 and 99 "
        "of the first image, used for all), or LOW,HIGH: the values that become black and white.",
    ),
]
UntypedOption = Annotated[
    str,
    typer.Option("--untyped-encoding", help="Channel order of 8UC3 and 8UC4 images in a bag: bgr or rgb."),
]
MemoryFramesOption = Annotated[
    int,
    typer.Option(
        "--memory-frames",
        help="Number of frames in memory per object, 1..7: one prompted, the others recent.",
    ),
]
MemoryPoolingOption = Annotated[
    int,
    typer.Option(
        "--memory-pooling",
        help="1: full spatial memories (exact). 2: means of 2 x 2 memory cells (approximate).",
    ),
]
MemoryEveryOption = Annotated[
    int,
    typer.Option("--memory-every", help="Store a memory every N frames. 1: exact; more: approximate."),
]
PoliciesOption = Annotated[
    str,
    typer.Option(
        "--policies",
        help="Tracking policies, joined by commas: default, official (none, as SAM 2), or names such as quality; "
        "ID:NAME for one object. See docs/explanation/policies.md.",
    ),
]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Write to --out even if other files are in it. They stay; none is replaced or removed.",
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        help="Number of processes, which share the cores. 0: one on a GPU, on fewer than 4 cores or with the live "
        "node; else one per two cores, 8 at most. Frames per second are those of one process on its share."
    ),
]
RayOption = Annotated[
    str,
    typer.Option(
        help="Run on a Ray cluster: its address, or local to start one on this machine. Needs --out. Default: no Ray."
    ),
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Do not reuse what an earlier run completed in --out: run everything.")
]
PortOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        help="Port of the page; 0: any free one. Default: 8322, or any free one if it is in use.",
    ),
]
NoOpenOption = Annotated[bool, typer.Option("--no-open", help="Do not open the browser.")]
OUT_HELP = (
    "Folder for the results: new, empty, or of an earlier run of this command, whose results are replaced."
)
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")
]


def policies_given(text: str) -> tuple[str, ...]:
    """The entries of `--policies`. Raises UserError."""
    from sam2_ros.engine.policies.names import check_entries, split_names

    entries = split_names(text) or ("default",)
    try:
        check_entries(entries)
    except ValueError as error:
        raise UserError(f"--policies {text}: {error}") from None
    return entries


def opens_model(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: replaces a command's parameter `model_options` by the options that open a model.

    The command receives them as one `ModelOptions`.
    """
    # The annotation is not evaluated: `ModelOptions` is imported only when a command runs.
    signature = inspect.signature(command, eval_str=True, locals={"ModelOptions": object})
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name != "model_options":
            parameters.append(parameter)
            continue
        for name, (default, help) in _MODEL_OPTIONS.items():
            option = typer.Option(default, f"--{name.replace('_', '-')}", help=help)
            parameters.append(parameter.replace(name=name, annotation=type(default), default=option))

    @functools.wraps(command)
    def with_options(**given: Any) -> Any:
        from sam2_ros.weights.open_model import ModelOptions

        options = ModelOptions(**{name: given.pop(name) for name in _MODEL_OPTIONS})
        return command(**given, model_options=options)

    # typer reads both attributes.
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_options
