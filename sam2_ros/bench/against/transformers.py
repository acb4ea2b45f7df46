# SPDX-License-Identifier: Apache-2.0
"""Runs transformers' port of SAM 2 over the frames that `bench` gives the tracker, with the same weights.

Knows how to configure and run its `Sam2VideoModel` and where its results are; compares nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sam2_ros.engine import Sam2Model
from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.model.transformers_layout import to_transformers
from sam2_ros.engine.preprocess import preprocess

from .reference import Box, hiera_of, missing

BOX_CORNERS = [2, 3]
"""Labels of the two points by which the prompt encoder represents a box."""


class TransformersReference:
    """A `Reference`. Stores all frames and memories of a session: long streams need much memory."""

    def __init__(self, model: Sam2Model) -> None:
        self._package = _package()
        self._model = model
        self._port = _build(self._package, model)

    def start(self, frames: Sequence[np.ndarray], boxes: Sequence[Box]) -> TransformersTracker:
        size, device = self._model.config.image_size, self._model.device
        height, width = frames[0].shape[:2]
        scale = np.array([size / width, size / height], np.float32)
        session = self._package.Sam2VideoInferenceSession(
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=torch.float32,
        )
        for number, box in enumerate(boxes):
            corners = torch.from_numpy(np.array(box, np.float32).reshape(2, 2) * scale)
            prompt = {
                "point_coords": corners.to(device)[None, None],
                "point_labels": torch.tensor(BOX_CORNERS, dtype=torch.int32, device=device)[None, None],
            }
            session.add_point_inputs(session.obj_id_to_idx(number), 0, prompt)
        session.obj_with_new_inputs = list(range(len(boxes)))
        images = [preprocess(frame, size, "image", device)[0] for frame in frames]
        return TransformersTracker(self._model, self._port, session, images)


class TransformersTracker:
    """One session of the port."""

    def __init__(self, model: Sam2Model, port: Any, session: Any, images: Sequence[torch.Tensor]) -> None:
        self._model, self._port, self._session = model, port, session
        self._images = enumerate(images)
        self._answer: Any = None

    def step(self) -> None:
        index, image = next(self._images)
        with torch.inference_mode(), self._model.precision():
            self._answer = self._port(self._session, frame=image, frame_idx=index)
            if self._model.device.type == "cuda":
                torch.cuda.synchronize(self._model.device)

    def logits(self) -> np.ndarray:
        logits: np.ndarray = self._answer.pred_masks[:, 0].float().cpu().numpy()
        return logits


def _package() -> Any:
    try:
        return importlib.import_module("transformers.models.sam2_video.modeling_sam2_video")
    except ImportError as error:
        raise missing("transformers", error) from None


def _build(sam2_video: Any, model: Sam2Model) -> Any:
    configuration = importlib.import_module("transformers").Sam2VideoConfig(**_shape(model.config))
    port = sam2_video.Sam2VideoModel(configuration)
    port.load_state_dict(to_transformers(model.state_dict()), strict=True)
    return port.to(model.device).eval()


def _shape(config: ModelConfig) -> dict[str, Any]:
    """The arguments of `Sam2VideoConfig` for a `ModelConfig`; its default widths are those of the official models."""
    hiera, size = hiera_of(config), config.image_size
    newer = config.version == "2.1"
    return {
        "image_size": size,
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_channel_list": list(reversed(hiera.channels)),
            "backbone_feature_sizes": [[size // stride] * 2 for stride in (4, 8, 16)],
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "image_size": [size, size],
                "hidden_size": hiera.embed_dim,
                "num_attention_heads": hiera.num_heads,
                "blocks_per_stage": list(hiera.stages),
                "embed_dim_per_stage": list(hiera.channels),
                "num_attention_heads_per_stage": [hiera.num_heads * 2**stage for stage in range(4)],
                "window_size_per_stage": list(hiera.window_spec),
                "global_attention_blocks": list(hiera.global_blocks),
                "window_positional_embedding_background_size": list(hiera.pos_embed_background),
            },
        },
        "prompt_encoder_config": {"image_size": size},
        "mask_decoder_config": {},
        "memory_attention_rope_feat_sizes": [config.grid] * 2,
        "enable_occlusion_spatial_embedding": newer,
        "enable_temporal_pos_encoding_for_object_pointers": newer,
    }
