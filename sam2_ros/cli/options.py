"""The options that several sub-commands of `sam2-ros` share. Does not know what they are used for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

ImageSizeOption = Annotated[
    int,
    typer.Option(
        "--image-size", help="Side of the square the model sees, a multiple of 32; 0: the model's own."
    ),
]
_MODEL_OPTIONS: dict[str, tuple[Any, Any]] = {  # fields of `ModelOptions`: type and default of each
    "model": (
        Annotated[
            str,
            typer.Option("--model", help="nano, tiny, small, base_plus, large, or the path of a checkpoint."),
        ],
        "nano",
    ),
    "device": (
        Annotated[str, typer.Option("--device", help="auto (a GPU if there is one), cpu, cuda, cuda:0.")],
        "auto",
    ),
    "precision": (
        Annotated[
            str,
            typer.Option(
                "--precision",
                help="auto (bf16 where the GPU, or a CPU with AMX or AVX512_BF16, is fast in it, else fp32), bf16, "
                "fp16, fp32.",
            ),
        ],
        "auto",
    ),
    "image_size": (ImageSizeOption, 0),
    "compile": (
        Annotated[
            str,
            typer.Option(
                "--compile",
                help="off, graphs (CUDA graphs), max (generated kernels; minutes at the first start, kept for the "
                "next).",
            ),
        ],
        "off",
    ),
    "backend": (
        Annotated[
            str,
            typer.Option(
                "--backend", help="torch, or onnx: --model is then a folder that `sam2-ros export` wrote."
            ),
        ],
        "torch",
    ),
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
    for name, parameter in signature.parameters.items():
        if name != "model_options":
            parameters.append(parameter)
            continue
        parameters += [
            parameter.replace(name=name, annotation=annotation, default=default)
            for name, (annotation, default) in _MODEL_OPTIONS.items()
        ]

    @functools.wraps(command)
    def with_options(**given: Any) -> Any:
        from sam2_ros.weights.open_model import ModelOptions

        options = ModelOptions(**{name: given.pop(name) for name in _MODEL_OPTIONS})
        return command(**given, model_options=options)

    # typer reads both.
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_options
