# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros enroll`: learns what one object looks like from images, to find it later or elsewhere.

Does not enrol: reads arguments and prompts, shows progress and a table.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output as show
from .options import JsonOption, RangeOption, opens_model

if TYPE_CHECKING:  # imported only by the command that runs, so that start-up stays fast
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def enroll(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="One to four images of the object: JPEG, PNG, TIFF, WebP or BMP. Those that differ most help most."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: NAME.safetensors. Replaces only such a file.")
    ],
    model_options: ModelOptions,
    box: Annotated[
        list[str] | None,
        typer.Option(
            help="Box: ID:x0,y0,x1,y1 in pixels; with several images ID@N:..., N counts them from 0. Repeatable."
        ),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            help="Click in pixels: ID:x,y,+ on the object, ID:x,y,- off it, or ID@N:... Repeatable."
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(help="Mask: ID:file.png, black = background, or ID@N:file.png#2. Repeatable."),
    ] = None,
    range: RangeOption = "full",
    as_json: JsonOption = False,
) -> None:
    """Learn what one object looks like, to find it later, in another recording or on another camera.

    The file is for the same model only. `track` takes it as --enrolled, and
    a node by its service ~/load_state.
    """
    from sam2_ros.media.pixels.image_reader import PixelConfig
    from sam2_ros.offline.enroll import EnrollConfig, run_enroll

    from .prompts import PromptBook

    book = PromptBook(of_image=len(images) == 1)
    book.add_specs(box, point, mask)
    for line in book.notes:
        show.note(line)
    config = EnrollConfig(tuple(images), out, book.prompts(), model_options, PixelConfig(range))
    with show.progress_bar("opening") as bar:
        summary = run_enroll(config, bar.show)
    show.print_table("sam2-ros enroll", summary)
    show.print_json(as_json, summary)
