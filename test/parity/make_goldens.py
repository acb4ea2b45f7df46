# SPDX-License-Identifier: Apache-2.0
"""Runs the official SAM 2 on `golden_cases` and stores its outputs: `python test/parity/make_goldens.py [CASE ...]`.

With names, runs only those cases. Needs an environment of its own with `sam2` and its torchvision. Every tensor of the
models is filled from a seed and its key, as in the other parity tests; fp32, CPU.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import sam2.sam2_video_predictor as official_video
import sam2.utils.misc as official_misc
from parity.golden_cases import (
    EVERYTHING_CASES,
    GENERATOR_OPTIONS,
    GOLDENS,
    IMAGE_CASES,
    IMAGE_SEED,
    SIZE_PX,
    STATE_DICTS,
    VIDEO_CASES,
    VIDEO_SEED,
    Event,
    VideoCase,
    clip,
    digest,
    file_of,
    image,
)
from parity.scene import normalised
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.build_sam import build_sam2, build_sam2_video_predictor
from sam2.sam2_image_predictor import SAM2ImagePredictor

from sam2_ros.bench.against.seeded_weights import fill_by_key

Case = TypeVar("Case")
CONFIGS = {"tiny": "configs/sam2.1/sam2.1_hiera_t.yaml", "base_plus": "configs/sam2.1/sam2.1_hiera_b+.yaml"}
SMALL = f"++model.image_size={SIZE_PX}"
FEATURE_SIZES = [(SIZE_PX // stride, SIZE_PX // stride) for stride in (4, 8, 16)]


def filled(model: Any, seed: int, presence_bias: float = 0.0) -> Any:
    model.load_state_dict(fill_by_key(model.state_dict(), seed, presence_bias), strict=True)
    return model


def state_dict_goldens() -> None:
    """Stores a count and a digest of the tensor names and shapes of the eight official models."""
    found = {}
    for version in ("2.1", "2.0"):
        family = "sam2.1" if version == "2.1" else "sam2"
        for size, letter in {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}.items():
            model = build_sam2(f"configs/{family}/{family}_hiera_{letter}.yaml", device="cpu")
            shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
            found[f"{size} {version}"] = {"tensors": len(shapes), "digest": digest(shapes)}
    STATE_DICTS.write_text(json.dumps(found, indent=1) + "\n")


def generator_options() -> None:
    """Stores names and defaults of the options of the official mask generator."""
    parameters = inspect.signature(SAM2AutomaticMaskGenerator).parameters.values()
    options = {p.name: p.default for p in parameters if p.name != "model" and p.kind != p.VAR_KEYWORD}
    GENERATOR_OPTIONS.write_text(json.dumps(options, indent=1) + "\n")


def image_predictor(postprocessing: bool) -> Any:
    model = build_sam2(
        CONFIGS["tiny"], device="cpu", hydra_overrides_extra=[SMALL], apply_postprocessing=postprocessing
    )
    predictor = SAM2ImagePredictor(filled(model, IMAGE_SEED))
    predictor._bb_feat_sizes = FEATURE_SIZES
    predictor.set_image(image())
    return predictor


def image_goldens(wanted: Collection[str]) -> None:
    predictors = {with_it: image_predictor(with_it) for with_it in (True, False)}
    for name, case in chosen(IMAGE_CASES, wanted).items():
        points, labels, box, mask = case.arguments()
        predictor, kept = predictors[case.postprocessing], {}
        for multimask in (True, False):
            masks, scores, logits = predictor.predict(
                points, labels, box, None if mask is None else mask[None], multimask_output=multimask
            )
            kind = "multi" if multimask else "single"
            kept |= {
                f"{kind}_masks": np.packbits(masks.astype(bool), axis=-1),
                f"{kind}_scores": scores,
                f"{kind}_logits": logits,
            }
        save("image", name, kept)
    for name, settings in chosen(EVERYTHING_CASES, wanted).items():
        generator = SAM2AutomaticMaskGenerator(predictors[True].model, **settings)
        generator.predictor._bb_feat_sizes = FEATURE_SIZES
        records = generator.generate(image())
        print(name, len(records), "masks", [round(r["predicted_iou"], 3) for r in records])
        save(
            "everything",
            name,
            {
                "masks": np.packbits(np.array([r["segmentation"] for r in records]), axis=-1),
                **{
                    key: np.array([r[key] for r in records], np.float32)
                    for key in (
                        "area",
                        "bbox",
                        "predicted_iou",
                        "stability_score",
                        "point_coords",
                        "crop_box",
                    )
                },
            },
        )


def video_golden(name: str, case: VideoCase) -> None:
    predictor = build_sam2_video_predictor(
        CONFIGS[case.size],
        device="cpu",
        hydra_overrides_extra=[SMALL],
        apply_postprocessing=case.flavour != "official_vos",
    )
    predictor.fill_hole_area = case.fill_hole_area
    stays_recent = case.corrections_are_conditioning is False
    predictor.add_all_frames_to_correct_as_cond = case.flavour == "stream" and not stays_recent
    filled(predictor, VIDEO_SEED, case.presence_bias)
    frames = torch.stack([normalised(frame) for frame in clip()])
    official_video.load_video_frames = lambda **_: (frames, SIZE_PX, SIZE_PX)
    state = predictor.init_state("the clip above")
    last = len(frames) - 1
    outputs: dict[str, dict[int, dict[str, torch.Tensor]]] = {}
    at = 0
    for event in case.events:
        if not event.refine:
            upto = event.frame if event.correction else event.frame - 1
            propagate(predictor, state, at, upto, case.backward)
        collect(state, outputs)
        do(predictor, state, event, last - event.frame if case.backward else event.frame)
        at = event.frame + (event.correction and stays_recent)
    propagate(predictor, state, at, case.last_frame, case.backward)
    collect(state, outputs)
    kept: dict[str, np.ndarray] = {}
    for object_id, by_frame in outputs.items():
        if case.backward:
            by_frame = {last - frame: out for frame, out in by_frame.items()}
        own = sorted(by_frame)
        shown = [frame for frame in own if frame in case.kept_frames]
        kept |= {
            f"{object_id}_frames": np.array(own),
            f"{object_id}_scores": np.array([float(by_frame[f]["object_score_logits"]) for f in own]),
            f"{object_id}_logits": np.stack([by_frame[f]["pred_masks"][0, 0].numpy() for f in shown]),
            f"{object_id}_pointers": np.stack([by_frame[f]["obj_ptr"][0].numpy() for f in shown]),
        }
        print(name, object_id, "absent", [f for f in own if float(by_frame[f]["object_score_logits"]) <= 0])
    save("video", name, kept)


def connected_components(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and areas of 8-connected regions; replaces the official CUDA extension on a CPU."""
    labels, areas = torch.zeros_like(mask, dtype=torch.int32), torch.zeros_like(mask, dtype=torch.int32)
    for index, one in enumerate(mask[:, 0].numpy().astype(np.uint8)):
        _, regions, stats, _ = cv2.connectedComponentsWithStats(one, connectivity=8)
        sizes = stats[:, cv2.CC_STAT_AREA].copy()
        sizes[0] = 0
        labels[index, 0] = torch.from_numpy(regions)
        areas[index, 0] = torch.from_numpy(sizes[regions])
    return labels, areas


def propagate(predictor: Any, state: Any, begin: int, end: int, backward: bool) -> None:
    """Track frames begin..end, counted in the order in which they are tracked."""
    if end < begin:
        return
    start = state["num_frames"] - 1 - begin if backward else begin
    for _ in predictor.propagate_in_video(state, start, end - begin, reverse=backward):
        pass


def do(predictor: Any, state: Any, event: Event, frame: int) -> None:
    if event.remove:
        predictor.remove_object(state, event.object_id)
    elif event.take_back is not None:
        predictor.clear_all_prompts_in_frame(state, event.take_back, event.object_id)
    elif event.mask is not None:
        predictor.add_new_mask(state, frame, event.object_id, event.mask)
    else:
        predictor.add_new_points_or_box(
            state,
            frame,
            event.object_id,
            points=event.points,
            labels=event.labels,
            box=event.box,
            clear_old_points=not event.refine,
        )


def collect(state: Any, outputs: dict[str, dict[int, dict[str, torch.Tensor]]]) -> None:
    """Collects the outputs of every object so far; those of removed objects stay."""
    for object_id, index in state["obj_id_to_idx"].items():
        own = outputs.setdefault(object_id, {})
        for part in ("non_cond_frame_outputs", "cond_frame_outputs"):
            own.update(state["output_dict_per_obj"][index][part])


def chosen(cases: Mapping[str, Case], wanted: Collection[str]) -> dict[str, Case]:
    """All cases, or those that are wanted."""
    return {name: case for name, case in cases.items() if not wanted or name in wanted}


def save(kind: str, name: str, arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(file_of(kind, name), **arrays)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    official_misc.get_connected_components = connected_components
    GOLDENS.mkdir(exist_ok=True)
    names = sys.argv[1:]
    generator_options()
    if not names:
        state_dict_goldens()
    image_goldens(names)
    for case_name, video_case in chosen(VIDEO_CASES, names).items():
        video_golden(case_name, video_case)
