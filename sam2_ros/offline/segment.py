# SPDX-License-Identifier: Apache-2.0
"""Segments one image, with prompts or everything in it, into a folder of masks.

Does not know how prompts are written, nor object identities or time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam2_ros.atomic_write import write_json
from sam2_ros.engine import (
    EverythingConfig,
    ImageSegmenter,
    Prompt,
    PromptError,
    Sam2Model,
    segment_everything,
)
from sam2_ros.engine.postprocess import measure_mask
from sam2_ros.media.annotations import annotation, coco_rle
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.overlay import draw_masks, write_png
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.pixels.image_reader import ImageReader, PixelConfig
from sam2_ros.media.results import write_label_png
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.weights.open_model import ModelOptions, open_model

RESULT_NAMES = ("overlay.png", "labels.png", "masks.json", "summary.json")
_MAX_BYTES = 1 << 29


@dataclass(frozen=True)
class SegmentConfig:
    """The image, what to segment in it, and where the results go.

    Attributes:
        everything: settings for segmenting without prompts; None requires prompts.
    """

    image: Path
    out: Path
    prompts: Sequence[Prompt] = field(default_factory=tuple)
    everything: EverythingConfig | None = None
    model_options: ModelOptions = field(default_factory=ModelOptions)
    pixels: PixelConfig = field(default_factory=PixelConfig)
    overwrite: bool = False  # see `ResultFolder`


def run_segment(
    config: SegmentConfig,
    on_progress: Callable[[str, int, int | None], None] = lambda step, done, total: None,
) -> dict[str, Any]:
    """Segment one image; returns the content of summary.json.

    Writes `overlay.png`, `labels.png` (value k + 1 = mask k of `masks.json`; smaller masks are drawn over larger ones),
    `masks.json` and `summary.json`. Raises UserError; then nothing is written.
    """
    if bool(config.prompts) == (config.everything is not None):
        raise PromptError(
            "prompts and everything at once: choose one"
            if config.prompts
            else "nothing to segment given: give a box or points, or ask for everything"
        )
    folder = ResultFolder(
        config.out, "segment", RESULT_NAMES, [("the image", config.image)], config.overwrite
    )
    image = read_image(config.image, ImageReader(config.pixels))
    for prompt in config.prompts:
        prompt.validated(*image.shape[:2])
    on_progress("loading the model", 0, None)
    model = open_model(config.model_options)
    began_s = time.perf_counter()
    if config.everything is None:
        masks, records = _prompted(model, image, config.prompts)
    else:
        found = segment_everything(
            model, image, config.everything, lambda done, total: on_progress("segmenting", done, total)
        )
        masks, records = [mask.segmentation for mask in found], [annotation(mask) for mask in found]
    seconds = time.perf_counter() - began_s
    summary = {
        "source": str(config.image),
        "width": image.shape[1],
        "height": image.shape[0],
        "masks": len(masks),
        "covered": round(float(np.any(masks, axis=0).mean()), 4) if masks else 0.0,
        "seconds": round(seconds, 3),
        "model": model.config.name,
        "device": str(model.device),
        "precision": model.precision_name,
    }
    _write(folder, image, masks, records, [prompt.id for prompt in config.prompts], summary)
    return summary


def read_image(path: Path, images: ImageReader) -> np.ndarray:
    """An image file, ``[H, W, 3]`` uint8 RGB. Raises SourceError."""
    try:
        with path.open("rb") as file:  # limited, as a device file has no end
            content = file.read(_MAX_BYTES)
        return images.file(content)
    except (ImageError, OSError) as error:
        raise SourceError(
            f"'{path}' is not a readable image ({error}): expected a JPEG, PNG, TIFF, WebP or BMP file"
        ) from error


def _prompted(
    model: Sam2Model, image: np.ndarray, prompts: Sequence[Prompt]
) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    """Return the best mask of each prompt, and its record for `masks.json`."""
    segmenter = ImageSegmenter(model)
    segmenter.set_image(image)
    masks, records = [], []
    for prompt in prompts:
        (mask,), (score,), _ = segmenter.answer(prompt)
        box, area, _ = measure_mask(mask)
        masks.append(mask)
        records.append(
            {
                "id": prompt.id,
                "predicted_iou": float(score),
                "box": list(box),
                "area": area,
                "segmentation": coco_rle(mask),
            }
        )
    return masks, records


def _write(
    folder: ResultFolder,
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    records: Sequence[dict[str, Any]],
    names: Sequence[str],
    summary: dict[str, Any],
) -> None:
    labels = np.zeros(image.shape[:2], np.uint16)
    for index in sorted(range(len(masks)), key=lambda index: -int(masks[index].sum())):
        labels[masks[index]] = index + 1
    overlay = draw_masks(image, [labels == index + 1 for index in range(len(masks))], names)
    with folder:
        write_label_png(folder.stage("labels.png"), labels)
        write_png(folder.stage("overlay.png"), overlay)
        write_json(folder.stage("masks.json"), list(records))
        write_json(folder.stage("summary.json"), summary)
