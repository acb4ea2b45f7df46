# SPDX-License-Identifier: Apache-2.0
"""The SAM 2 model: its boxes, the learned tables between them, and the five calls a tracker makes.

Stateless: memory comes in as an argument and goes out as a result. Does not know frames, ids or time beyond
the distances it is given.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import nn

from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.kernels.layers import MLP, Linear
from sam2_ros.engine.kernels.rope import sine_grid, sine_time

from .image_encoder import ImageEncoder
from .mask_decoder import ChosenMask, DecodedMasks, MaskDecoder, choose_mask, upsample_logits
from .memory_attention import MemoryAttention
from .memory_encoder import MemoryEncoder
from .neck import Neck
from .prompt_encoder import PADDING, PromptEncoder

if TYPE_CHECKING:
    from sam2_ros.engine.tracker_config import TrackerConfig

NO_OBJECT_LOGIT = -1024.0
MEMORY_MASK_SCALE, MEMORY_MASK_BIAS = 20.0, -10.0
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class ImageFeatures(NamedTuple):
    """What the image encoder makes of a frame, computed once for all objects."""

    s4: torch.Tensor  # [b, d_model / 8, 4 side, 4 side], the decoder's conv_s0 applied
    s8: torch.Tensor  # [b, d_model / 4, 2 side, 2 side], the decoder's conv_s1 applied
    s16: torch.Tensor  # [b, d_model, side, side]


class MemoryView(NamedTuple):
    """The memories a batch of objects attends to on one frame; all objects have the same number of each."""

    spatial_bftc: torch.Tensor  # [b, frames, side * side, mem_dim]; fewer tokens where they are pooled
    slots_bf: (
        torch.Tensor
    )  # [b, frames] rows of the temporal table: 0 = previous frame ... last = conditioning
    pointers_bpd: torch.Tensor  # [b, pointers, d_model]
    distances_bp: torch.Tensor  # [b, pointers] frames ago, signed, as float
    pointer_span: int | None = None  # frames ago that the time encoding takes for 1; None = max_pointers - 1
    spatial_valid_bf: torch.Tensor | None = None  # [b, frames] bool, which frames are there; None = all
    pointer_valid_bp: torch.Tensor | None = None  # [b, pointers] bool, likewise


class MaskOutput(NamedTuple):
    """The mask of each object on one frame."""

    logits_b1hw: torch.Tensor  # [b, 1, 4 side, 4 side], -1024 everywhere when the object is absent
    iou_b: torch.Tensor
    presence_b: torch.Tensor  # object score logit
    pointer_bd: torch.Tensor


class Sam2Model(nn.Module):
    """Any member of the family; parameter names are those of the official checkpoints."""

    # Whether `fuse_memory` heeds the validity of a `MemoryView`; else every entry must be valid.
    takes_padded_memory = False
    # The model that this is a copy of by `kernels.prepare`; in a tuple, as it is no part of this one.
    prepared_from: tuple[Sam2Model, ...] = ()

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        d, m = config.d_model, config.mem_dim
        self.image_encoder = nn.ModuleDict(
            {"trunk": config.encoder.build(), "neck": Neck(config.encoder.channels, config.d_model)}
        )
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.sam_prompt_encoder = PromptEncoder(config)
        self.sam_mask_decoder = MaskDecoder(config)
        self.mask_downsample = nn.Conv2d(1, 1, 4, stride=4)
        self.obj_ptr_proj = MLP(d, d, d, 3)
        self.maskmem_tpos_enc = nn.Parameter(0.02 * torch.randn(config.num_maskmem, 1, 1, m))
        self.no_mem_embed = nn.Parameter(0.02 * torch.randn(1, 1, d))
        self.no_mem_pos_enc = nn.Parameter(0.02 * torch.randn(1, 1, d))  # in the checkpoints, never used
        self.no_obj_ptr = nn.Parameter(0.02 * torch.randn(1, d))
        if config.version == "2.1":
            self.no_obj_embed_spatial = nn.Parameter(0.02 * torch.randn(1, m))
            self.obj_ptr_tpos_proj = Linear(d, m)

    @property
    def device(self) -> torch.device:
        return self.no_mem_embed.device

    @property
    def dtype(self) -> torch.dtype:
        return self.no_mem_embed.dtype

    @property
    def trunk(self) -> ImageEncoder:
        """The image encoder without its neck."""
        return cast(ImageEncoder, self.image_encoder["trunk"])

    @property
    def unprepared(self) -> Sam2Model:
        """The model with the weights of a checkpoint as they are: what is saved, trained and converted."""
        return self.prepared_from[0] if self.prepared_from else self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """That of `unprepared`."""
        return super(Sam2Model, self.unprepared).state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As of any module; raises TypeError for a prepared copy, whose weights are other ones."""
        if self.prepared_from:
            raise TypeError(
                "a prepared model takes no state dict: load it into `.unprepared`, and prepare that"
            )
        return super().load_state_dict(*args, **kwargs)

    @property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.unprepared.parameters())

    @property
    def precision_name(self) -> str:
        """fp32, bf16 or fp16: the number format of the arithmetic."""
        return next(name for name, dtype in PRECISIONS.items() if dtype == self.compute_dtype)

    def check_fits(self, config: TrackerConfig) -> None:
        """Raises where a tracker of these settings could hold more than the model has room for; PyTorch has for all."""

    def precision(self) -> AbstractContextManager[object]:
        """The autocast that trackers and segmenters run the model in: that of `compute_dtype`."""
        return torch.autocast(
            self.device.type, self.compute_dtype, enabled=self.compute_dtype != torch.float32
        )

    def for_inference(self, dtype: torch.dtype) -> Sam2Model:
        """Compute in `dtype` from now on, without gradients.

        Autocast would convert the same weights at every call; here those of its layers are converted once, to the same
        values. Call the model within `precision` then.
        """
        self.compute_dtype = dtype
        if dtype != torch.float32:
            for module in self.modules():
                if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    module.to(dtype)
        return self.eval().requires_grad_(False)

    def encode_image(self, image_b3hw: torch.Tensor) -> ImageFeatures:
        """Normalised RGB ``[b, 3, S, S]`` -> features at strides 4, 8, 16."""
        maps = self.trunk(image_b3hw)
        s4, s8, s16 = self.image_encoder["neck"](maps)
        return ImageFeatures(self.sam_mask_decoder.conv_s0(s4), self.sam_mask_decoder.conv_s1(s8), s16)

    def without_memory(self, s16_bchw: torch.Tensor) -> torch.Tensor:
        """Features of a frame on which an object has no memory yet: ``[b, d_model, side, side]``."""
        return s16_bchw + self.no_mem_embed.view(1, -1, 1, 1)

    def fuse_memory(self, s16_bchw: torch.Tensor, memory: MemoryView) -> torch.Tensor:
        """Memory attention. Features ``[1 or b, d_model, side, side]`` -> ``[b, d_model, side, side]``."""
        tokens, position = self._memory_tokens(memory)
        pointer_tokens = memory.pointers_bpd.shape[1] * (self.config.d_model // self.config.mem_dim)
        return self.memory_attention(s16_bchw, tokens, position, pointer_tokens, self._pooling(memory))

    def _pooling(self, memory: MemoryView) -> int:
        return self.config.grid // math.isqrt(memory.spatial_bftc.shape[2])

    def _memory_tokens(self, memory: MemoryView) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and their positions ``[b, m, mem_dim]``: spatial memories, then each pointer cut into tokens."""
        config = self.config
        b, frames, cells, c = memory.spatial_bftc.shape
        grid = F.avg_pool2d(sine_grid(config.grid, c, self.device), self._pooling(memory)).flatten(1).t()
        time = self.maskmem_tpos_enc[memory.slots_bf].view(b, frames, 1, c)
        spatial_pos = (grid + time).reshape(b, frames * cells, c)

        pieces = config.d_model // config.mem_dim
        pointers = memory.pointers_bpd.reshape(b, -1, c)
        pointer_pos = torch.zeros_like(pointers)
        if config.version == "2.1":
            distances = memory.distances_bp.flatten() / (memory.pointer_span or config.max_pointers - 1)
            projected = self.obj_ptr_tpos_proj(sine_time(distances, config.d_model).to(self.dtype))
            pointer_pos = projected.repeat_interleave(pieces, dim=0).view_as(pointers)
        tokens = torch.cat([memory.spatial_bftc.reshape(b, frames * cells, c), pointers], dim=1)
        return tokens, torch.cat([spatial_pos.to(tokens.dtype), pointer_pos], dim=1)

    def decode(
        self,
        fused_bchw: torch.Tensor,
        features: ImageFeatures,
        points_bn2: torch.Tensor | None = None,
        labels_bn: torch.Tensor | None = None,
        mask_logits_b1hw: torch.Tensor | None = None,
    ) -> DecodedMasks:
        """Prompt encoder and mask decoder; without points, the prompt of a frame that is only tracked.

        Args:
            fused_bchw: from `without_memory` or `fuse_memory`; with points of one image for many prompts, batch 1.
            features: of the frame, batch 1 or b.
            points_bn2: ``[b, n, 2]`` pixels of the model's input.
            labels_bn: ``[b, n]``, see `PromptEncoder.sparse`.
            mask_logits_b1hw: dense prompt, ``[b, 1, 4 side, 4 side]``.
        """
        b = len(fused_bchw)
        if points_bn2 is None or labels_bn is None:
            points_bn2 = fused_bchw.new_zeros(b, 1, 2)
            labels_bn = torch.full((b, 1), PADDING, device=fused_bchw.device)
        prompts = self.sam_prompt_encoder
        sparse = prompts.sparse(points_bn2, labels_bn)
        dense = prompts.dense(mask_logits_b1hw, b)
        position = prompts.dense_position().to(fused_bchw.dtype)
        return self.sam_mask_decoder(fused_bchw, position, sparse, dense, features.s8, features.s4)

    def predict(self, decoded: DecodedMasks, multimask: bool, stability_fallback: bool) -> MaskOutput:
        """Choose a candidate, blank it where the object is judged absent, and make its pointer."""
        chosen: ChosenMask = choose_mask(decoded, multimask, stability_fallback)
        present = decoded.presence_b > 0
        logits = torch.where(present.view(-1, 1, 1, 1), chosen.logits_b1hw, NO_OBJECT_LOGIT)
        return MaskOutput(logits, chosen.iou_b, decoded.presence_b, self.pointer(chosen.token_bc, present))

    def pointer(self, token_bd: torch.Tensor, present_b: torch.Tensor) -> torch.Tensor:
        """Object pointer ``[b, d_model]`` of a mask token; the learned "no object" pointer where absent."""
        return torch.where(present_b[:, None], self.obj_ptr_proj(token_bd), self.no_obj_ptr)

    def adopt_mask(self, mask_bhw: torch.Tensor, features: ImageFeatures) -> MaskOutput:
        """A mask prompt is its own answer; only its pointer is computed (official _use_mask_as_output).

        Args:
            mask_bhw: ``[b, S, S]`` bool at the model's input size.
            features: of the frame, batch 1 or b.
        """
        mask = mask_bhw[:, None].float()
        b = len(mask)
        logits = mask * MEMORY_MASK_SCALE + MEMORY_MASK_BIAS
        side = self.config.mask_side
        low = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False, antialias=True)
        dense = self.mask_downsample(mask.to(self.dtype))
        decoded = self.decode(features.s16.expand(b, -1, -1, -1), features, mask_logits_b1hw=dense)
        present = mask.flatten(1).any(dim=1)
        pointer = self.pointer(decoded.tokens_b4c[:, 0], decoded.presence_b > 0)
        pointer = torch.where(present[:, None], pointer, self.no_obj_ptr)
        presence = torch.where(present, 10.0, -10.0)
        return MaskOutput(low, torch.ones_like(presence), presence, pointer)

    def encode_memory(
        self,
        s16_bchw: torch.Tensor,
        logits_b1hw: torch.Tensor,
        presence_b: torch.Tensor,
        binarize_b: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Spatial memory of a frame.

        Args:
            s16_bchw: raw features of the frame, ``[1 or b, d_model, side, side]``.
            logits_b1hw: low-resolution mask logits.
            presence_b: object score logits; 2.1 marks the memory of an absent object.
            binarize_b: ``[b]`` bool, use the thresholded mask instead of its sigmoid.

        Returns:
            ``[b, side * side, mem_dim]``.
        """
        size = self.config.image_size
        logits = upsample_logits(logits_b1hw, (size, size))
        mask = logits.sigmoid()
        if binarize_b is not None:
            mask = torch.where(binarize_b.view(-1, 1, 1, 1), (logits > 0).float(), mask)
        mask = (mask * MEMORY_MASK_SCALE + MEMORY_MASK_BIAS).to(s16_bchw.dtype)
        memory = self.memory_encoder(s16_bchw, mask).flatten(2).transpose(1, 2)
        if self.config.version == "2.1":
            absent = (presence_b <= 0).to(memory.dtype).view(-1, 1, 1)
            memory = memory + absent * self.no_obj_embed_spatial
        return memory
