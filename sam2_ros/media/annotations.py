# SPDX-License-Identifier: Apache-2.0
"""Masks as dictionaries for annotation tools: COCO's run-length encoding, the records of the official mask generator.

Knows masks; does not know images, models or files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco

from sam2_ros.engine.everything import FoundMask

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


def coco_rle(mask_hw: np.ndarray) -> dict[str, Any]:
    """Encode an ``[H, W]`` bool mask as ``{"size": [H, W], "counts": str}``, for pycocotools."""
    encoded = coco.encode(np.asfortranarray(mask_hw.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def uncompressed_rle(mask_hw: np.ndarray) -> dict[str, Any]:
    """Encode an ``[H, W]`` bool mask as ``{"size": [H, W], "counts": [int]}``.

    `counts` are the lengths of the runs in column-major order; the first run is background.
    """
    flat = mask_hw.astype(bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(mask_hw.shape), "counts": [0, *counts] if flat[0] else counts}


def annotation(found: FoundMask, output_mode: str = "coco_rle") -> dict[str, Any]:
    """Convert a mask to the record that the official SAM2AutomaticMaskGenerator returns.

    Its `bbox` is x, y, width - 1, height - 1, its `crop_box` x, y, width, height (pixels).

    Args:
        found: the mask.
        output_mode: format of `segmentation`: "binary_mask" ([H, W] bool), "uncompressed_rle" or "coco_rle".

    Raises:
        ValueError: unknown output mode.
    """
    if output_mode not in OUTPUT_MODES:
        raise ValueError(f"output_mode = {output_mode!r}: expected one of {', '.join(OUTPUT_MODES)}")
    segmentation: Any = found.segmentation
    if output_mode != "binary_mask":
        encode = coco_rle if output_mode == "coco_rle" else uncompressed_rle
        segmentation = encode(found.segmentation)
    x0, y0, x1, y1 = found.box
    crop_x0, crop_y0, crop_x1, crop_y1 = found.crop_box
    return {
        "segmentation": segmentation,
        "area": found.area,
        "bbox": [x0, y0, x1 - x0 - 1, y1 - y0 - 1],
        "predicted_iou": found.predicted_iou,
        "point_coords": [list(found.point)],
        "stability_score": found.stability_score,
        "crop_box": [crop_x0, crop_y0, crop_x1 - crop_x0, crop_y1 - crop_y0],
    }
