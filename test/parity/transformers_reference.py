# SPDX-License-Identifier: Apache-2.0
"""Runs transformers' port of SAM 2 frame by frame and returns what the parity tests compare.

Knows nothing of sam2_ros: takes weights in transformers' key layout, and normalised pixels.

Where the port is known to differ from the official code, sam2_ros follows the official code. The tests use inputs on
which both agree, or state why they do not:

* Object pointer of a mask prompt: the official code decodes it in single-mask mode (token 0); the port uses the token
  with the highest predicted IoU.
* Memory of a mask prompt: the official video predictor encodes the mask after resizing it to a quarter of the
  resolution and back; the port encodes the prompt itself.
* Several objects: for memory the port binarises the masks of *all* objects on a frame where *any* was prompted; the
  official code decides per object. Hence one object per session here.
* A correction on a tracked frame: the official code feeds the previous logits as a dense prompt; the port does not.
* Pointers of conditioning frames beyond a limit: the official code lets them fill recent slots; the port does not, and
  keeps the pointers of all. No difference as long as all conditioning frames are used.
* Hole filling (an optional CUDA extension of the official code) does not exist in the port.
* With one frame at a time, the port divides pointer distances by 15 however short the clip is. The official code, and
  the port with the whole clip, divide by min(frames, 16) - 1, which is the same from 16 frames on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

FloatList = Sequence[Sequence[float]]


@dataclass(frozen=True)
class ReferenceFrame:
    """Result of one object on one frame."""

    logits_hw: Tensor  # low resolution, after the occlusion gate
    ungated_logits_hw: Tensor  # before it
    iou: Tensor  # [], predicted IoU of the mask that was kept
    object_score: Tensor  # [], a logit
    pointer_c: Tensor  # after the blend with the no-object pointer
    iou_margin: float  # best minus second best predicted IoU: how far from choosing another mask


def _shared_config(image_size_px: int) -> dict[str, dict[str, object]]:
    return {
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "image_size": [image_size_px, image_size_px],
            },
            "backbone_feature_sizes": [[image_size_px // stride] * 2 for stride in (4, 8, 16)],
        },
        "prompt_encoder_config": {"image_size": image_size_px},
        "mask_decoder_config": {},
    }


def image_model(weights: Mapping[str, Tensor], image_size_px: int) -> Sam2Model:
    """The tiny model for single images. Tensors of the video model in `weights` are not used."""
    model = Sam2Model(Sam2Config(**_shared_config(image_size_px))).eval()
    wanted = model.state_dict()
    model.load_state_dict({key: weights[key] for key in wanted}, strict=True)
    return model


def video_model(weights: Mapping[str, Tensor], image_size_px: int, version: str = "2.1") -> Sam2VideoModel:
    """The tiny model for video; `version` is "2.0" or "2.1"."""
    if version not in ("2.0", "2.1"):
        raise ValueError(f"version is {version!r}; expected '2.0' or '2.1'")
    config = Sam2VideoConfig(
        **_shared_config(image_size_px),
        image_size=image_size_px,
        memory_attention_rope_feat_sizes=[image_size_px // 16] * 2,
        enable_occlusion_spatial_embedding=version == "2.1",
        enable_temporal_pos_encoding_for_object_pointers=version == "2.1",
    )
    model = Sam2VideoModel(config).eval()
    model.load_state_dict(dict(weights), strict=True)
    return model


class ReferenceTracker:
    """Tracks one object, one frame per call: as a stream, or through a clip that is given at the start."""

    def __init__(self, model: Sam2VideoModel, clip_tchw: Tensor | None = None) -> None:
        self.model = model
        self.streaming = clip_tchw is None
        self.session = Sam2VideoInferenceSession(video=clip_tchw, dtype=torch.float32)
        self.frame_index = 0
        self._decoded: tuple[Tensor, ...] = ()
        model.mask_decoder.register_forward_hook(self._keep_decoded)

    def _keep_decoded(self, module: torch.nn.Module, inputs: object, output: tuple[Tensor, ...]) -> None:
        # The session does not store the predicted IoU: take it from the decoder.
        self._decoded = output

    def step(
        self,
        pixels_chw: Tensor,
        points_xy: FloatList | None = None,
        labels: Sequence[int] | None = None,
        mask_hw: Tensor | None = None,
    ) -> ReferenceFrame:
        """`points_xy` in pixels of the model's input; labels: 1 and 0 clicks, 2 and 3 corners of a box."""
        if points_xy is not None or mask_hw is not None:
            index = self.session.obj_id_to_idx(1)
            if points_xy is not None:
                prompt = {
                    "point_coords": torch.tensor(points_xy, dtype=torch.float32)[None, None],
                    "point_labels": torch.tensor(labels, dtype=torch.int32)[None, None],
                }
                self.session.add_point_inputs(index, self.frame_index, prompt)
            if mask_hw is not None:
                self.session.add_mask_inputs(index, self.frame_index, mask_hw[None, None].float())
            self.session.obj_with_new_inputs = [1]
        forward = self.model._single_frame_forward
        if mask_hw is not None:
            # Official: the pointer of a mask prompt comes from the decoder in single-mask mode.
            self.model._single_frame_forward = partial(forward, multimask_output=False)
        new_frame = pixels_chw if self.streaming else None
        self.model(self.session, frame=new_frame, frame_idx=self.frame_index)
        self.model._single_frame_forward = forward

        outputs = self.session.output_dict_per_obj[0]
        kept = (
            outputs["cond_frame_outputs"].get(self.frame_index)
            or outputs["non_cond_frame_outputs"][self.frame_index]
        )
        masks_bpnhw, iou_bpn = self._decoded[0], self._decoded[1]
        # A mask prompt is used as the output, with a predicted IoU of 1.
        ranked = (torch.ones(1) if mask_hw is not None else iou_bpn[0, 0]).sort(descending=True)
        self.frame_index += 1
        return ReferenceFrame(
            logits_hw=kept["pred_masks"][0, 0],
            ungated_logits_hw=masks_bpnhw[0, 0, ranked.indices[0]],
            iou=ranked.values[0],
            object_score=kept["object_score_logits"].flatten()[0],
            pointer_c=kept["object_pointer"].flatten(),
            iou_margin=float(ranked.values[0] - ranked.values[1]) if len(ranked.values) > 1 else 1.0,
        )
