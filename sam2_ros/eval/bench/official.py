"""Runs the official SAM 2 over the frames that `bench` gives the tracker: the same weights, in the same process.

Knows how its video predictor is driven and where its answers lie; compares nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sam2_ros.engine import Sam2Model
from sam2_ros.engine.preprocess import preprocess
from sam2_ros.eval.bench.reference import Box, ReferenceMissingError

SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}


class Official:
    """A `Reference`: facebookresearch/sam2's `SAM2VideoPredictor`.

    What it does on the prompted frame before tracking starts belongs to no step; its answer there is that of the first.
    """

    def __init__(self, model: Sam2Model, frames: Sequence[np.ndarray], boxes: Sequence[Box]) -> None:
        self._model = model
        self._objects = len(boxes)
        self._frame = -1
        predictor = _predictor(model)
        size = model.config.image_size
        images = torch.cat([preprocess(frame, size, "image", model.device) for frame in frames])
        height, width = frames[0].shape[:2]
        module = importlib.import_module("sam2.sam2_video_predictor")
        module.load_video_frames = lambda **_: (images, height, width)  # type: ignore[attr-defined]
        module.tqdm = lambda frames, **_: frames  # type: ignore[attr-defined]  # its progress bar, beside ours
        with torch.inference_mode(), model.precision():
            self._state = predictor.init_state("frames from memory")
            for number, box in enumerate(boxes):
                predictor.add_new_points_or_box(
                    self._state, frame_idx=0, obj_id=number, box=np.array(box, np.float32)
                )
            self._stream = predictor.propagate_in_video(self._state)

    def step(self) -> None:
        with torch.inference_mode(), self._model.precision():
            next(self._stream)
            if self._model.device.type == "cuda":
                torch.cuda.synchronize(self._model.device)
        self._frame += 1

    def logits(self) -> np.ndarray:
        found = []
        for number in range(self._objects):
            outputs = self._state["output_dict_per_obj"][self._state["obj_id_to_idx"][number]]
            kept = (
                outputs["cond_frame_outputs"].get(self._frame)
                or outputs["non_cond_frame_outputs"][self._frame]
            )
            found.append(kept["pred_masks"][0, 0].float().cpu().numpy())
        return np.stack(found)


def _predictor(model: Sam2Model) -> Any:
    try:
        build = importlib.import_module("sam2.build_sam").build_sam2_video_predictor
    except ImportError as error:
        raise ReferenceMissingError(
            f"--against official needs Meta's package sam2, which this Python cannot import ({error}): install it and "
            "the torchvision of your torch in an environment of its own (docs/performance.md)"
        ) from None
    name, version = model.config.name, model.config.version
    if name not in SIZES:
        raise ReferenceMissingError(
            f"--against official: it has no model {name}, one of {', '.join(SIZES)} expected"
        )
    folder, stem = ("sam2.1", "sam2.1_hiera") if version == "2.1" else ("sam2", "sam2_hiera")
    predictor = build(
        f"configs/{folder}/{stem}_{SIZES[name]}.yaml",
        device=str(model.device),
        hydra_overrides_extra=[f"++model.image_size={model.config.image_size}"],
        apply_postprocessing=False,
    )
    predictor.load_state_dict(model.state_dict(), strict=True)
    return predictor.eval()
