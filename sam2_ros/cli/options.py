# SPDX-License-Identifier: Apache-2.0
"""The options that several sub-commands of `sam2-ros` share. Does not know what they are used for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

_IMAGE_SIZE_HELP = "Side of the square the model sees, a multiple of 32; 0: the model's own."
ImageSizeOption = Annotated[int, typer.Option("--image-size", help=_IMAGE_SIZE_HELP)]
_MODEL_OPTIONS: dict[str, tuple[str | int, str]] = {  # fields of `ModelOptions`: default and help of each
    "model": ("nano", "nano, tiny, small, base_plus, large, or the path of a checkpoint."),
    "device": ("auto", "auto (a GPU if there is one), cpu, cuda, cuda:0."),
    "precision": (
        "auto",
        "auto (bf16 where the GPU, or a CPU with AMX or AVX512_BF16, is fast in it, else fp32), bf16, fp16, fp32.",
    ),
    "image_size": (0, _IMAGE_SIZE_HELP),
    "compile": (
        "off",
        "off, graphs (CUDA graphs), max (generated kernels; minutes at the first start, kept for the next).",
    ),
    "backend": ("torch", "torch, or onnx: --model is then a folder that `sam2-ros export` wrote."),
}
RangeOption = Annotated[
    str,
    typer.Option(
        "--range",
        help="How pictures of more than 8 bits become 8: full (of 16 bits the high byte), percentiles (1 and 99 of the "
        "first picture, kept for all), or LOW,HIGH: the values that become black and white.",
    ),
]
UntypedOption = Annotated[
    str,
    typer.Option(
        "--untyped-encoding", help="What the channels of a bag's 8UC3 and 8UC4 images are: bgr or rgb."
    ),
]
MemoryFramesOption = Annotated[
    int, typer.Option("--memory-frames", help="Frames in memory, 1..7: a prompted one and recent ones.")
]
MemoryPoolingOption = Annotated[
    int,
    typer.Option("--memory-pooling", help="2: keep means of 2 x 2 cells of memories. Not exact. 1: exact."),
]
MemoryEveryOption = Annotated[
    int, typer.Option("--memory-every", help="Make a memory of every so many frames. Not exact. 1: exact.")
]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Write into --out though it is neither empty nor of an earlier run: beside what is there, none of which "
        "is replaced or removed.",
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        help="Processes, each with its share of the cores. 0: one on a GPU, on fewer than 4 cores or for a live node, "
        "else one for every two cores, 8 at most: a rule, nothing is measured. Frames per second are then those of "
        "such a share."
    ),
]
RayOption = Annotated[
    str,
    typer.Option(
        help="Run on this Ray cluster (its address), or on one that is started here: local. Needs --out."
    ),
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Run again what an earlier run completed in --out.")
]
OUT_HELP = (
    "Folder for the results: new, empty, or of an earlier run of this command, whose result is replaced."
)
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")
]


def opens_model(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options by which a model is opened, in the place of its parameter `model_options`.

    The command gets them as one `ModelOptions`.
    """
    # The type of `model_options` is not imported before a command runs.
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

    # typer reads both.
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_options
