# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros segment`: segments one image, by prompts or everything in it.

Does not segment: reads arguments and prompts, shows progress and a table.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output as show
from .options import OUT_HELP, JsonOption, OverwriteOption, RangeOption, opens_model

if TYPE_CHECKING:  # imported only by the command that runs, so that start-up stays fast
    from sam2_ros.weights.open_model import ModelOptions


@opens_model
def segment(
    image: Annotated[
        Path, typer.Argument(help="Image: JPEG, PNG, TIFF, WebP or BMP; rotated upright as its EXIF says.")
    ],
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    model_options: ModelOptions,
    box: Annotated[list[str] | None, typer.Option(help="Box: ID:x0,y0,x1,y1 in pixels. Repeatable.")] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(help="Click in pixels: ID:x,y,+ on the object, ID:x,y,- off it. Repeatable."),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--everything", help="Segment everything, from a grid of clicks instead of prompts."),
    ] = False,
    points_per_side: Annotated[
        int,
        typer.Option(
            min=1, max=1024, help="With --everything: number of clicks along each side of the grid."
        ),
    ] = 32,
    pred_iou_thresh: Annotated[
        float | None,
        typer.Option(
            help="With --everything: lowest predicted IoU of a kept mask, 0..1. By default what fits the model: 0.8 "
            "for the official ones, 0.5 for nano."
        ),
    ] = None,
    stability_score_thresh: Annotated[
        float | None,
        typer.Option(
            help="With --everything: lowest stability of a kept mask, 0..1: the share of its area that stays when its "
            "edge is moved. By default what fits the model: 0.95 for the official ones, 0.6 for nano."
        ),
    ] = None,
    crop_n_layers: Annotated[
        int,
        typer.Option(
            min=0,
            max=6,
            help="With --everything: layers of crops segmented too. 1: 4 crops of the image, 2: 16 more, ...",
        ),
    ] = 0,
    min_mask_region_area: Annotated[
        int,
        typer.Option(
            min=0, help="With --everything: fill holes and remove islands smaller than this, in pixels."
        ),
    ] = 0,
    range: RangeOption = "full",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Segment one image: the objects that boxes and points prompt, or everything.

    Writes to --out: overlay.png, labels.png (value = number of the mask),
    masks.json (COCO run lengths) and summary.json.
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
            "or use more clicks with --points-per-side.",
            soft_wrap=True,
        )
    show.print_table("sam2-ros segment", summary)
    show.print_json(as_json, summary)
