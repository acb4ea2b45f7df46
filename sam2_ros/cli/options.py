"""The options that several sub-commands of `sam2-ros` share. Does not know what they are used for."""

from __future__ import annotations

from typing import Annotated

import typer

ModelOption = Annotated[
    str, typer.Option("--model", help="nano, tiny, small, base_plus, large, or the path of a checkpoint.")
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto (a GPU if there is one), cpu, cuda, cuda:0.")
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        help="auto (bf16 where the GPU, or a CPU with AMX or AVX512_BF16, is fast in it, else fp32), bf16, fp16, fp32.",
    ),
]
BackendOption = Annotated[
    str,
    typer.Option("--backend", help="torch, or onnx: --model is then a folder that `sam2-ros export` wrote."),
]
ImageSizeOption = Annotated[
    int,
    typer.Option(
        "--image-size", help="Side of the square the model sees, a multiple of 32; 0: the model's own."
    ),
]
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
CompileOption = Annotated[
    str,
    typer.Option(
        "--compile",
        help="off, graphs (CUDA graphs), max (generated kernels; minutes at the first start, kept for the next).",
    ),
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
