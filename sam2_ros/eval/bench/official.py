"""Runs the official SAM 2 over the frames that `bench` gives the tracker: the same weights, in the same process.

Knows how its video predictor is driven and where its answers lie; compares nothing.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from sam2_ros.engine import Sam2Model
from sam2_ros.engine.preprocess import preprocess
from sam2_ros.eval.bench.reference import Box, Followed, ReferenceMissingError

SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}


def run_official(
    model: Sam2Model,
    frames: Sequence[np.ndarray],
    boxes: Sequence[Box],
    on_frame: Callable[[], None] = lambda: None,
) -> Followed:
    """As `run_reference`, with facebookresearch/sam2's `SAM2VideoPredictor`.

    What it does on the prompted frame before tracking starts is not timed; its answer on the first frame is its entry
    for it.
    """
    predictor = _predictor(model)
    size = model.config.image_size
    images = torch.cat([preprocess(frame, size, "image", model.device) for frame in frames])
    height, width = frames[0].shape[:2]
    module = importlib.import_module("sam2.sam2_video_predictor")
    module.load_video_frames = lambda **_: (images, height, width)  # type: ignore[attr-defined]
    module.tqdm = lambda frames, **_: frames  # type: ignore[attr-defined]  # its progress bar, beside ours
    result = Followed()
    with torch.inference_mode(), model.precision():
        state = predictor.init_state("frames from memory")
        for number, box in enumerate(boxes):
            predictor.add_new_points_or_box(state, frame_idx=0, obj_id=number, box=np.array(box, np.float32))
        stream = predictor.propagate_in_video(state)
        for index in range(len(frames)):
            start_s = time.perf_counter()
            next(stream)
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            result.frame_ms.append((time.perf_counter() - start_s) * 1e3)
            result.logits.append(_answers(state, index, len(boxes)))
            on_frame()
    return result


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


def _answers(state: Any, frame: int, objects: int) -> np.ndarray:
    found = []
    for number in range(objects):
        outputs = state["output_dict_per_obj"][state["obj_id_to_idx"][number]]
        kept = outputs["cond_frame_outputs"].get(frame) or outputs["non_cond_frame_outputs"][frame]
        found.append(kept["pred_masks"][0, 0].float().cpu().numpy())
    return np.stack(found)
