# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros track`: tracks prompted objects through a video, a folder of frames or a bag.

Does not track: reads arguments and prompts, shows progress and a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output as show
from .options import (
    OUT_HELP,
    JsonOption,
    OverwriteOption,
    PoliciesOption,
    RangeOption,
    UntypedOption,
    opens_model,
    policies_given,
)

if TYPE_CHECKING:  # imported only by the command that runs, so that start-up stays fast
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def track(
    source: Annotated[
        Path, typer.Argument(help="Video file, folder of frames, or rosbag2 (folder, .mcap, .db3).")
    ],
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    model_options: ModelOptions,
    topic: Annotated[
        str | None, typer.Option(help="Image topic. Required if the bag has several image topics.")
    ] = None,
    glob: Annotated[
        str | None,
        typer.Option(
            help="Of a folder: use only files whose names match, such as '*_rgb.png'. Default: all."
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Frames per second of a folder. Default: from the stamps in the file names, else 30."
        ),
    ] = None,
    box: Annotated[
        list[str] | None, typer.Option(help="Box: ID@FRAME:x0,y0,x1,y1 in pixels. Repeatable.")
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            help="Click in pixels: ID@FRAME:x,y,+ on the object, ID@FRAME:x,y,- off it. Repeatable."
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            help="Mask: ID@FRAME:file.png, black = background; file.png#2: only its value 2. Repeatable."
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="JSON list of prompts: {id, frame, box, points [[180, 150, 1], ...], mask, class_id}; of a point, 1: "
            "on the object, 0: off it. Default: none."
        ),
    ] = None,
    enrolled: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of `sam2-ros enroll` or ~/save_state: its objects are looked for from the first frame on. "
            "Repeatable."
        ),
    ] = None,
    backward: Annotated[
        bool,
        typer.Option("--backward", help="Also track each object from its first prompt back to the start."),
    ] = False,
    range: RangeOption = "full",
    untyped_encoding: UntypedOption = "bgr",
    save: Annotated[
        str, typer.Option(help="Results to write: any of masks,video,bag,json.")
    ] = "masks,video,bag,json",
    policies: PoliciesOption = "default",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Track prompted objects through a video, a folder of frames or a rosbag2.

    Writes to --out: masks/NNNNN.png (of a folder: masks/NAME.png, named as its
    files), objects.json, overlay.mp4, tracked/ (rosbag2) and summary.json.
    """
    from sam2_ros.media.bag.storage import is_bag
    from sam2_ros.media.pixels.image_reader import PixelConfig
    from sam2_ros.offline.track import TrackConfig, run_track

    from .prompts import PromptBook, stamps_of

    book = PromptBook()
    book.add_specs(box, point, mask)
    if prompts is not None:
        book.add_file(prompts)
    for line in book.notes:
        show.note(line)
    stamps = None
    if prompts is not None and book.has_stamps and is_bag(source):
        stamps = stamps_of(source, topic, prompts)
    config = TrackConfig(
        source=source,
        out=out,
        prompts=book.prompts(stamps),
        model_options=model_options,
        topic=topic,
        glob=glob,
        fps=fps,
        backward=backward,
        save=tuple(part.strip() for part in save.split(",") if part.strip()),
        pixels=PixelConfig(range, untyped_encoding),
        overwrite=overwrite,
        policies=policies_given(policies),
        prompt_files=tuple(book.files),
        enrolled=tuple(enrolled or ()),
    )
    with show.progress_bar("opening") as bar:
        summary = run_track(config, bar.show)
    shown = {**summary, "saved": ", ".join(summary["saved"]), "objects": len(summary["objects"])}
    del shown["missing"]
    show.print_table(
        "sam2-ros track", shown | {f"  {name}": _seen(seen) for name, seen in summary["objects"].items()}
    )
    show.print_json(as_json, summary)


def _seen(counts: Mapping[str, Any]) -> str:
    """One object of the summary as a sentence."""
    return f"visible in {counts['frames_visible']} of {counts['frames']} frames, last {counts['last_state']}"
