# SPDX-License-Identifier: Apache-2.0
"""Enrols one object from image files into a state file, from which `track --enrolled` and ~/load_state find it.

Does not know how prompts are written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2_ros.engine import Prompt
from sam2_ros.engine.tracker_config import TrackerConfig
from sam2_ros.errors import UserError
from sam2_ros.media.pixels.image_reader import ImageReader, PixelConfig
from sam2_ros.state.enroll import enroll
from sam2_ros.state.identity import ModelIdentity
from sam2_ros.state.state_file import check_replaceable, write_state
from sam2_ros.weights.open_model import ModelOptions, open_model

from .segment import read_image

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class EnrollConfig:
    """Images of one object, a prompt on each, and the file to write.

    Attributes:
        prompts: by index of the image.
    """

    images: Sequence[Path]
    out: Path
    prompts: Mapping[int, Sequence[Prompt]]
    model_options: ModelOptions = field(default_factory=ModelOptions)
    pixels: PixelConfig = field(default_factory=PixelConfig)


def run_enroll(
    config: EnrollConfig,
    on_progress: Callable[[str, int, int | None], None] = lambda step, done, total: None,
) -> dict[str, Any]:
    """Enrol one object; returns a summary. Raises UserError; then nothing is written."""
    prompts = _one_for_each(config)
    _check_out(config)
    reader = ImageReader(config.pixels)
    images = [read_image(path, reader) for path in config.images]
    for prompt, image in zip(prompts, images, strict=True):
        prompt.validated(*image.shape[:2])
    on_progress("loading the model", 0, None)
    settings = TrackerConfig(max_objects=1)
    model = open_model(config.model_options, settings)
    identity = ModelIdentity.of(model)
    on_progress("enrolling", 0, None)
    begun_s = time.perf_counter()
    state = enroll(model, identity, images, prompts, prompts[0].id, settings)
    size = write_state(config.out, state)
    return {
        "file": str(config.out),
        "id": prompts[0].id,
        "images": len(images),
        "bytes": size,
        "seconds": round(time.perf_counter() - begun_s, 3),
        "model": str(identity),
        "device": str(model.device),
        "precision": model.precision_name,
    }


def _one_for_each(config: EnrollConfig) -> list[Prompt]:
    """The prompts in the order of the images. Raises UserError."""
    ids = {prompt.id for given in config.prompts.values() for prompt in given}
    if len(ids) != 1:
        given = f"prompts for {sorted(ids)}" if ids else "no prompt"
        raise UserError(f"{given}: expected prompts for one object; a file holds one that is looked for")
    missing = [number for number in range(len(config.images)) if number not in config.prompts]
    beyond = sorted(set(config.prompts) - set(range(len(config.images))))
    if missing or beyond:
        what = f"image {missing[0]} has no prompt" if missing else f"a prompt is on image {beyond[0]}"
        raise UserError(
            f"{what}; expected one on each of the {len(config.images)} images, counted from 0: --box cup@0:x0,y0,x1,y1"
        )
    return [config.prompts[number][0] for number in range(len(config.images))]


def _check_out(config: EnrollConfig) -> None:
    """Only a state file is replaced. Raises UserError."""
    if config.out.suffix != SUFFIX:
        raise UserError(
            f"--out {config.out}: expected a file whose name ends in {SUFFIX}, such as cup{SUFFIX}"
        )
    if not config.out.absolute().parent.is_dir():
        raise UserError(f"--out {config.out}: its folder does not exist; make it first")
    check_replaceable(config.out)
