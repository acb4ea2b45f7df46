# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros track`: prompted objects through a video, a folder of frames or a bag.

Does not track: it reads arguments and prompts, shows progress and a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output as show
from .options import OUT_HELP, JsonOption, OverwriteOption, RangeOption, UntypedOption, opens_model

if TYPE_CHECKING:  # the command line starts without loading what it does not run
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def track(
    source: Annotated[
        Path, typer.Argument(help="Video file, folder of frames, or rosbag2 (folder, .mcap, .db3).")
    ],
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    model_options: ModelOptions,
    topic: Annotated[str | None, typer.Option(help="Image topic of a bag with several.")] = None,
    glob: Annotated[
        str | None, typer.Option(help="Of a folder, only files with names like this, such as '*_rgb.png'.")
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames per second of a folder (default: by the stamps in its names, else 30)."),
    ] = None,
    box: Annotated[list[str] | None, typer.Option(help="ID@FRAME:x0,y0,x1,y1 in pixels. Repeatable.")] = None,
    point: Annotated[
        list[str] | None, typer.Option(help="ID@FRAME:x,y,+ on the object or x,y,- off it. Repeatable.")
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(help="ID@FRAME:file.png, black = background; file.png#2: its value 2. Repeatable."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="JSON list of {id, frame, box, points [[x, y, 1 or 0]], mask, class_id}."),
    ] = None,
    backward: Annotated[
        bool, typer.Option("--backward", help="Also track from each object's first prompt back to the start.")
    ] = False,
    range: RangeOption = "full",
    untyped_encoding: UntypedOption = "bgr",
    save: Annotated[
        str, typer.Option(help="What to leave: any of masks,video,bag,json.")
    ] = "masks,video,bag,json",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Track prompted objects through a video, a folder of frames or a rosbag2.

    Leaves masks/NNNNN.png (of a folder: masks/NAME.png, as its files are named), objects.json, overlay.mp4, tracked/
    (rosbag2) and summary.json.
    """
    from sam2_ros.media.pixels.image_reader import PixelConfig
    from sam2_ros.offline.track import TrackConfig, run_track

    from .prompts import PromptBook

    book = PromptBook()
    book.add_specs(box, point, mask)
    if prompts is not None:
        book.add_file(prompts)
    for line in book.notes:
        show.note(line)
    config = TrackConfig(
        source=source,
        out=out,
        prompts=book.prompts(),
        model_options=model_options,
        topic=topic,
        glob=glob,
        fps=fps,
        backward=backward,
        save=tuple(part.strip() for part in save.split(",") if part.strip()),
        pixels=PixelConfig(range, untyped_encoding),
        overwrite=overwrite,
        prompt_files=tuple(book.files),
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
    """One object of the summary in words."""
    return f"visible in {counts['frames_visible']} of {counts['frames']} frames, last {counts['last_state']}"
