# SPDX-License-Identifier: Apache-2.0
"""Runs Meta's package `sam2` over the frames that `bench` gives the tracker, with the same weights.

Knows how to run its video predictor and where its results are; compares nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from sam2_ros.engine import Sam2Model
from sam2_ros.engine.compiled import compiler_failure
from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.preprocess import preprocess
from sam2_ros.errors import UserError

from .reference import Box, hiera_of, missing

SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}


class OfficialReference:
    """A `Reference`: facebookresearch/sam2's `SAM2VideoPredictor`, or its compiled form `SAM2VideoPredictorVOS`."""

    def __init__(self, model: Sam2Model, compiled: bool = False) -> None:
        self._model = model
        self._predictor = _predictor(model, compiled)

    def start(self, frames: Sequence[np.ndarray], boxes: Sequence[Box]) -> OfficialTracker:
        size = self._model.config.image_size
        images = torch.cat([preprocess(frame, size, "image", self._model.device) for frame in frames])
        height, width = frames[0].shape[:2]
        module = importlib.import_module("sam2.sam2_video_predictor")
        module.load_video_frames = lambda **_: (images, height, width)  # type: ignore[attr-defined]
        module.tqdm = lambda frames, **_: frames  # type: ignore[attr-defined]  # hides its progress bar
        return OfficialTracker(self._model, self._predictor, boxes)


class OfficialTracker:
    """One video in the official predictor.

    Its work on the prompted frame before tracking starts is in no step; its result there is that of the first step.
    """

    def __init__(self, model: Sam2Model, predictor: Any, boxes: Sequence[Box]) -> None:
        self._model = model
        self._objects = len(boxes)
        self._frame = -1
        with torch.inference_mode(), model.precision(), _compiler_errors():
            self._state = predictor.init_state("frames from memory")
            for number, box in enumerate(boxes):
                predictor.add_new_points_or_box(
                    self._state, frame_idx=0, obj_id=number, box=np.array(box, np.float32)
                )
            self._stream = predictor.propagate_in_video(self._state)

    def step(self) -> None:
        with torch.inference_mode(), self._model.precision(), _compiler_errors():
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


@contextlib.contextmanager
def _compiler_errors() -> Iterator[None]:
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        raise UserError(
            f"--against official-compiled: torch.compile failed {compiler_failure(error)}, or give --against official"
        ) from error


def _predictor(model: Sam2Model, compiled: bool) -> Any:
    option = "official-compiled" if compiled else "official"
    try:
        build = importlib.import_module("sam2.build_sam").build_sam2_video_predictor
        made_by = importlib.import_module("sam2.sam2_video_predictor")
    except ImportError as error:
        raise missing(option, error) from None
    if compiled and not hasattr(made_by, "SAM2VideoPredictorVOS"):
        raise UserError(
            f"--against {option}: the installed package sam2 has no compiled predictor; install one of "
            "December 2024 or later, such as sam2==1.1.0"
        )
    config = model.config
    size = SIZES.get(config.name, SIZES["tiny"])
    folder, stem = ("sam2.1", "sam2.1_hiera") if config.version == "2.1" else ("sam2", "sam2_hiera")
    # It prints a message when it compiles; standard output is for results only.
    with _decoder_of(config), contextlib.redirect_stdout(sys.stderr):
        predictor = build(
            f"configs/{folder}/{stem}_{size}.yaml",
            device=str(model.device),
            hydra_overrides_extra=[f"++model.{key}={value}" for key, value in _settings(config).items()],
            apply_postprocessing=False,
            vos_optimized=compiled,
        )
    for index, grid in _grids_before_pooling(config).items():
        # Only nano has global attention in such a block. The official code would divide by its window size of 0: a
        # window over the whole map is equal.
        if index in hiera_of(config).global_blocks:
            predictor.image_encoder.trunk.blocks[index].window_size = grid
    predictor.load_state_dict(model.state_dict(), strict=True)
    return predictor.eval()


def _grids_before_pooling(config: ModelConfig) -> dict[int, int]:
    """Index of the first block of each later stage, which pools its queries -> side of its input grid."""
    firsts = itertools.accumulate(hiera_of(config).stages[:-1])
    return {index: config.image_size // 4 // 2**stage for stage, index in enumerate(firsts)}


def _settings(config: ModelConfig) -> dict[str, Any]:
    """Settings that differ from the configuration file: the input size, and for nano all widths."""
    settings: dict[str, Any] = {"image_size": config.image_size}
    if config.name in SIZES:
        return settings
    hiera = hiera_of(config)
    trunk = {
        "embed_dim": hiera.embed_dim,
        "num_heads": hiera.num_heads,
        "stages": list(hiera.stages),
        "global_att_blocks": list(hiera.global_blocks),
        "window_spec": list(hiera.window_spec),
        "window_pos_embed_bkg_spatial_size": list(hiera.pos_embed_background),
    }
    settings |= {f"image_encoder.trunk.{key}": value for key, value in trunk.items()}
    settings |= {
        "image_encoder.neck.backbone_channel_list": list(reversed(hiera.channels)),
        "memory_attention.layer.dim_feedforward": config.memory_attention_ffn,
        "memory_attention.layer.cross_attention.kv_in_dim": config.mem_dim,
        "memory_attention.num_layers": config.memory_attention_layers,
        "memory_encoder.out_dim": config.mem_dim,
        "memory_encoder.position_encoding.num_pos_feats": config.mem_dim,
    }
    of_features = (
        "image_encoder.neck.d_model",
        "image_encoder.neck.position_encoding.num_pos_feats",
        "memory_attention.d_model",
        "memory_attention.layer.d_model",
        "memory_attention.layer.self_attention.embedding_dim",
        "memory_attention.layer.cross_attention.embedding_dim",
        "memory_encoder.in_dim",
        "memory_encoder.mask_downsampler.embed_dim",
        "memory_encoder.fuser.layer.dim",
    )
    return settings | dict.fromkeys(of_features, config.d_model)


@contextlib.contextmanager
def _decoder_of(config: ModelConfig) -> Iterator[None]:
    """Replaces the widths of the official mask decoder, which are fixed in its code, by those of `config` (nano)."""
    base = importlib.import_module("sam2.modeling.sam2_base")
    widths = {
        "TwoWayTransformer": {"num_heads": config.mask_decoder_heads, "mlp_dim": config.mask_decoder_ffn},
        "MaskDecoder": {"iou_head_hidden_dim": config.head_hidden},
    }
    made = {name: getattr(base, name) for name in widths}
    for name, own in widths.items():
        setattr(base, name, lambda make=made[name], own=own, **given: make(**(given | own)))
    try:
        yield
    finally:
        for name, make in made.items():
            setattr(base, name, make)
