# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros segment`: one image, what prompts ask for or everything.

Does not segment: it reads arguments and prompts, shows progress and a table.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output as show
from .options import OUT_HELP, JsonOption, OverwriteOption, RangeOption, opens_model

if TYPE_CHECKING:  # the command line starts without loading what it does not run
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def segment(
    image: Annotated[
        Path, typer.Argument(help="JPEG, PNG, TIFF, WebP or BMP; turned upright as its EXIF says.")
    ],
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    model_options: ModelOptions,
    box: Annotated[list[str] | None, typer.Option(help="ID:x0,y0,x1,y1 in pixels. Repeatable.")] = None,
    point: Annotated[
        list[str] | None, typer.Option(help="ID:x,y,+ on the object or ID:x,y,- off it. Repeatable.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Without prompts: all masks, from a grid of clicks.")
    ] = False,
    points_per_side: Annotated[
        int, typer.Option(min=1, max=1024, help="Clicks along each side of the grid.")
    ] = 32,
    pred_iou_thresh: Annotated[float, typer.Option(help="Least predicted IoU of a mask, 0..1.")] = 0.8,
    stability_score_thresh: Annotated[
        float, typer.Option(help="Least share of a mask's area that stays when its edge is moved.")
    ] = 0.95,
    crop_n_layers: Annotated[
        int, typer.Option(min=0, max=6, help="1: segment 4 crops of the image too, 2: 16 more, ...")
    ] = 0,
    min_mask_region_area: Annotated[
        int, typer.Option(min=0, help="Fill holes and drop islands smaller than this, pixels.")
    ] = 0,
    range: RangeOption = "full",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Segment one image: what boxes and points ask for, or everything.

    Leaves overlay.png, labels.png (value = number of the mask), masks.json (COCO run lengths) and summary.json.
    """
    from sam2_ros.engine import EverythingConfig
    from sam2_ros.media.pixels.image_reader import PixelConfig
    from sam2_ros.offline.segment import SegmentConfig, run_segment

    from .prompts import PromptBook

    book = PromptBook(of_image=True)
    book.add_specs(box, point)
    grid = EverythingConfig(
        points_per_side=points_per_side,
        pred_iou_thresh=pred_iou_thresh,
        stability_score_thresh=stability_score_thresh,
        crop_n_layers=crop_n_layers,
        min_mask_region_area=min_mask_region_area,
    )
    config = SegmentConfig(
        image,
        out,
        book.prompts().get(0, ()),
        grid if everything else None,
        model_options,
        PixelConfig(range),
        overwrite,
    )
    with show.progress_bar("opening") as bar:
        summary = run_segment(config, bar.show)
    if not summary["masks"]:
        show.err.print(
            "No mask is good and stable enough: lower --pred-iou-thresh or --stability-score-thresh, "
            "or ask more clicks with --points-per-side.",
            soft_wrap=True,
        )
    show.print_table("sam2-ros segment", summary)
    show.print_json(as_json, summary)
