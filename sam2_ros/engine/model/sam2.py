# SPDX-License-Identifier: Apache-2.0
"""The SAM 2 model: its modules, the learned tables between them, and the calls of a tracker (SAM 2 paper, section 4).

One frame: `encode_image`; `fuse_memory` or `without_memory`; `decode`; `predict`; `encode_memory`. Stateless: memory is
an argument and a result. Does not know frames, ids, or time beyond the distances it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
from .matching import Matching, MatchView
from .memory_attention import MemoryAttention
from .memory_encoder import MemoryEncoder
from .neck import Neck
from .prompt_encoder import OUTSIDE_BOX, PADDING, PromptEncoder

if TYPE_CHECKING:
    from sam2_ros.engine.tracker_config import TrackerConfig

NO_OBJECT_LOGIT = -1024.0  # of every pixel when the object is absent
MEMORY_MASK_SCALE, MEMORY_MASK_BIAS = 20.0, -10.0  # masks 0..1 are scaled to -10..10 for memory
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class ImageFeatures(NamedTuple):
    """Output of the image encoder, computed once per frame for all objects. side = `ModelConfig.grid`."""

    s4: torch.Tensor  # [b, d_model / 8, 4 side, 4 side] at stride 4, after the decoder's conv_s0
    s8: torch.Tensor  # [b, d_model / 4, 2 side, 2 side] at stride 8, after the decoder's conv_s1
    s16: torch.Tensor  # [b, d_model, side, side] at stride 16
    keys: torch.Tensor | None = (
        None  # [b, 4 side * side, c] of the matching memory; None = the model has none
    )

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> ImageFeatures:
        """The features after `change` of every tensor."""
        return ImageFeatures(*(None if level is None else change(level) for level in self))  # type: ignore[arg-type]


class MemoryView(NamedTuple):
    """The memories that a batch of objects attends to on one frame; all objects have the same number of each.

    Attributes:
        spatial_bftc: ``[b, frames, side * side, mem_dim]`` spatial memories; fewer tokens when they are pooled.
        slots_bf: ``[b, frames]`` row of the temporal table of each: 0 = the previous frame, ..., last = conditioning.
        pointers_bpd: ``[b, pointers, d_model]`` object pointers.
        distances_bp: ``[b, pointers]`` float, how many frames ago each was made, signed.
        pointer_span: the distance that the time encoding maps to 1; None = max_pointers - 1.
        spatial_valid_bf: ``[b, frames]`` bool, False = padding; None = all are valid.
        pointer_valid_bp: ``[b, pointers]`` bool, likewise.
    """

    spatial_bftc: torch.Tensor
    slots_bf: torch.Tensor
    pointers_bpd: torch.Tensor
    distances_bp: torch.Tensor
    pointer_span: int | None = None
    spatial_valid_bf: torch.Tensor | None = None
    pointer_valid_bp: torch.Tensor | None = None


class MaskOutput(NamedTuple):
    """The mask of each object on one frame, and what memory needs of it."""

    logits_b1hw: torch.Tensor  # [b, 1, 4 side, 4 side], -1024 everywhere when the object is absent
    iou_b: torch.Tensor  # [b] predicted IoU, 0..1
    presence_b: torch.Tensor  # [b] object score logit, above 0 = visible
    pointer_bd: torch.Tensor  # [b, d_model] object pointer


class Sam2Model(nn.Module):
    """A SAM 2 model of any size. Parameter names are those of the official checkpoints.

    Attributes:
        config: sizes of the model.
        compute_dtype: number format of the arithmetic, see `precision`.
    """

    # True if `fuse_memory` uses the validity of a `MemoryView`; otherwise all of its entries must be valid.
    takes_padded_memory = False
    # The model of which `kernels.prepare` made this copy; in a tuple, so that it is not registered as a submodule.
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
        if config.matching is not None:
            self.matching = Matching(config.matching, config.encoder.channels, d)
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
        """The model with the weights as in a checkpoint, to be saved, trained or converted; itself if not a copy."""
        return self.prepared_from[0] if self.prepared_from else self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The state dict of `unprepared`."""
        return super(Sam2Model, self.unprepared).state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As for any module. Raises TypeError for a prepared copy, whose weights are rewritten."""
        if self.prepared_from:
            raise TypeError(
                "a prepared model takes no state dict: load it into `.unprepared`, and prepare that"
            )
        return super().load_state_dict(*args, **kwargs)

    @property
    def parameter_count(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.unprepared.parameters())

    @property
    def precision_name(self) -> str:
        """Number format of the arithmetic: "fp32", "bf16" or "fp16"."""
        return next(name for name, dtype in PRECISIONS.items() if dtype == self.compute_dtype)

    def check_fits(self, config: TrackerConfig) -> None:
        """Raise an error if a tracker of these settings needs more room than the model has; no limit in PyTorch."""

    def precision(self) -> AbstractContextManager[object]:
        """The autocast context for `compute_dtype`, in which trackers and segmenters run the model."""
        return torch.autocast(
            self.device.type, self.compute_dtype, enabled=self.compute_dtype != torch.float32
        )

    def for_inference(self, dtype: torch.dtype) -> Sam2Model:
        """Switch to computing in `dtype`, without gradients. Call the model inside `precision` then.

        Weights of linear layers and convolutions are converted once, to the values to which autocast would convert them
        at every call.
        """
        self.compute_dtype = dtype
        if dtype != torch.float32:
            for module in self.modules():
                if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    module.to(dtype)
        return self.eval().requires_grad_(False)

    def encode_image(self, image_b3hw: torch.Tensor) -> ImageFeatures:
        """Image encoder: normalised RGB ``[b, 3, S, S]`` -> features at strides 4, 8 and 16."""
        maps = self.trunk(image_b3hw)
        s4, s8, s16 = self.image_encoder["neck"](maps)
        keys = None if self.config.matching is None else self.matching.keys(maps)
        return ImageFeatures(self.sam_mask_decoder.conv_s0(s4), self.sam_mask_decoder.conv_s1(s8), s16, keys)

    def without_memory(self, s16_bchw: torch.Tensor) -> torch.Tensor:
        """Features for an object without memory, in place of `fuse_memory`; ``[b, d_model, side, side]`` in and out."""
        return s16_bchw + self.no_mem_embed.view(1, -1, 1, 1)

    def fuse_memory(self, s16_bchw: torch.Tensor, memory: MemoryView) -> torch.Tensor:
        """Memory attention: features ``[1 or b, d_model, side, side] -> [b, d_model, side, side]`` for b objects."""
        tokens, position = self._memory_tokens(memory)
        pointer_tokens = memory.pointers_bpd.shape[1] * (self.config.d_model // self.config.mem_dim)
        return self.memory_attention(s16_bchw, tokens, position, pointer_tokens, self._pooling(memory))

    def _pooling(self, memory: MemoryView) -> int:
        """Cells of the grid that one spatial memory token stands for, in each direction."""
        return self.config.grid // math.isqrt(memory.spatial_bftc.shape[2])

    def _memory_tokens(self, memory: MemoryView) -> tuple[torch.Tensor, torch.Tensor]:
        """Memory tokens and their positions, ``[b, m, mem_dim]`` each: spatial memories, then object pointers, each
        split into d_model / mem_dim tokens."""
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

    def match(self, features: ImageFeatures, view: MatchView) -> torch.Tensor:
        """Dense matching memory: the evidence for each of b objects on one frame, see `Matching.read`."""
        assert features.keys is not None, "the model has no matching memory"
        return self.matching.read(features.keys[0], view)

    def match_values(self, logits_b1hw: torch.Tensor) -> torch.Tensor:
        """Masks for the matching memory: ``[b, 1, 4 side, 4 side]`` logits -> ``[b, 4 side * side]``, 0..1."""
        return F.avg_pool2d(logits_b1hw.float().sigmoid(), 2).flatten(1)

    def decode(
        self,
        fused_bchw: torch.Tensor,
        features: ImageFeatures,
        points_bn2: torch.Tensor | None = None,
        labels_bn: torch.Tensor | None = None,
        mask_logits_b1hw: torch.Tensor | None = None,
        evidence_b6hw: torch.Tensor | None = None,
    ) -> DecodedMasks:
        """Prompt encoder and mask decoder: the candidate masks of b objects or prompts.

        Args:
            fused_bchw: ``[1 or b, d_model, side, side]`` from `without_memory` or `fuse_memory`; 1 for many prompts on
                one image.
            features: of the frame, batch 1 or b.
            points_bn2: ``[b, n, 2]``, (x, y) in pixels of the model's input; None = no prompt, as on a frame that is
                only tracked: one padding point.
            labels_bn: ``[b, n]``, see `PromptEncoder.sparse`.
            mask_logits_b1hw: dense prompt, ``[b, 1, 4 side, 4 side]`` logits; None = no mask.
            evidence_b6hw: from `match`; None = the object has no memory, or the model no matching memory.
        """
        b = len(fused_bchw)
        prompts = self.sam_prompt_encoder
        reach_b1hw = None
        if points_bn2 is not None and labels_bn is not None:
            if self.config.prompt_maps and points_bn2.shape[1]:
                mask_logits_b1hw = prompts.drawn(points_bn2, labels_bn, mask_logits_b1hw)
                reach_b1hw = prompts.within_reach(points_bn2, labels_bn)
        else:
            points_bn2 = fused_bchw.new_zeros(b, 1, 2)
            labels_bn = torch.full((b, 1), PADDING, device=fused_bchw.device)
        sparse = prompts.sparse(points_bn2, labels_bn)
        dense = prompts.dense(mask_logits_b1hw, b)
        position = prompts.dense_position().to(fused_bchw.dtype)
        s8, s4 = features.s8, features.s4
        if evidence_b6hw is not None:
            added = self.matching.embedding(evidence_b6hw)
            fused_bchw, s8, s4 = fused_bchw + added.s16, s8 + added.s8, s4 + added.s4.to(s4.dtype)
        decoded: DecodedMasks = self.sam_mask_decoder(fused_bchw, position, sparse, dense, s8, s4)
        if reach_b1hw is None:
            return decoded
        logits = decoded.logits_b4hw
        return decoded._replace(logits_b4hw=torch.where(reach_b1hw, logits, logits.clamp(max=OUTSIDE_BOX)))

    def predict(self, decoded: DecodedMasks, multimask: bool, stability_fallback: bool) -> MaskOutput:
        """Choose one candidate per object, blank it if the object is absent, and compute its object pointer.

        Args:
            decoded: output of `decode`.
            multimask: see `choose_mask`.
            stability_fallback: see `choose_mask`.
        """
        return self._as_output(decoded, choose_mask(decoded, multimask, stability_fallback))

    def predict_candidate(self, decoded: DecodedMasks, index: int) -> MaskOutput:
        """As `predict`, with the candidate 0..3 of this index for every object."""
        one = decoded.logits_b4hw[:, index, None], decoded.iou_b4[:, index], decoded.tokens_b4c[:, index]
        return self._as_output(decoded, ChosenMask(*one))

    def _as_output(self, decoded: DecodedMasks, chosen: ChosenMask) -> MaskOutput:
        present = decoded.presence_b > 0
        logits = torch.where(present.view(-1, 1, 1, 1), chosen.logits_b1hw, NO_OBJECT_LOGIT)
        return MaskOutput(logits, chosen.iou_b, decoded.presence_b, self.pointer(chosen.token_bc, present))

    def pointer(self, token_bd: torch.Tensor, present_b: torch.Tensor) -> torch.Tensor:
        """Object pointers ``[b, d_model]`` of mask tokens of that shape; the learned "no object" pointer if absent."""
        return torch.where(present_b[:, None], self.obj_ptr_proj(token_bd), self.no_obj_ptr)

    def mask_as_output(self, mask_bhw: torch.Tensor, features: ImageFeatures) -> MaskOutput:
        """Use a mask prompt as the output; only its object pointer is computed (official `_use_mask_as_output`).

        Args:
            mask_bhw: ``[b, S, S]`` bool at the size of the model's input.
            features: of the frame, batch 1 or b.

        Returns:
            Logits from -10 to 10 at low resolution, predicted IoU 1, and object score 10, or -10 for an empty mask.
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
        """Memory encoder: the spatial memories of a frame.

        Args:
            s16_bchw: ``[1 or b, d_model, side, side]`` features of the frame, before memory attention.
            logits_b1hw: ``[b, 1, 4 side, 4 side]`` mask logits.
            presence_b: ``[b]`` object score logits; version 2.1 adds an embedding to memories of absent objects.
            binarize_b: ``[b]`` bool, True = use the thresholded mask instead of its sigmoid; None = never.

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
