# SPDX-License-Identifier: Apache-2.0
"""Drop-in replacement for `Sam2Model`, whose stages run in onnxruntime.

Pads inputs to the fixed shapes of the export, and removes the padding from the outputs. Does not know frames, prompts
or how memories are stored.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from sam2_ros.engine import TrackerConfig
from sam2_ros.engine.model.mask_decoder import DecodedMasks
from sam2_ros.engine.model.sam2 import PRECISIONS, ImageFeatures, MemoryView, Sam2Model
from sam2_ros.errors import CheckpointError

from .layout import MANIFEST, TABLES, ExportLayout
from .matching import OnnxMatching
from .padding import pad_with_zeros
from .sessions import StageSession

REPLACED = ("image_encoder", "memory_attention", "memory_encoder", "maskmem_tpos_enc")


class OnnxMaskDecoder(nn.Module):
    """Drop-in replacement for `MaskDecoder`: any number of prompts, decoded in batches of the graph's size."""

    def __init__(self, session: StageSession, layout: ExportLayout) -> None:
        super().__init__()
        self.session, self.layout = session, layout

    def forward(
        self,
        image_bchw: torch.Tensor,
        image_pos_1chw: torch.Tensor,
        sparse_bnc: torch.Tensor,
        dense_bchw: torch.Tensor,
        s8_bchw: torch.Tensor,
        s4_bchw: torch.Tensor,
    ) -> DecodedMasks:
        """As `MaskDecoder.forward`; the positions are constants of the graph."""
        b, tokens, room = len(sparse_bnc), sparse_bnc.shape[1], self.layout.tokens
        if tokens > room:
            raise CheckpointError(
                f"a prompt of {tokens - 1} clicks and box corners: this model was exported for at most "
                f"{self.layout.prompt_points}; export it again with --points {tokens - 1}"
            )
        embedding = (image_bchw + dense_bchw).expand(b, -1, -1, -1)
        sparse = F.pad(sparse_bnc, (0, 0, 0, room - tokens))
        valid = (torch.arange(room) < tokens).float().expand(b, -1)
        parts = []
        for begin in range(0, b, self.layout.objects):
            chunk = slice(begin, begin + self.layout.objects)
            count = len(sparse[chunk])
            answer = self.session(
                {
                    "embedding": pad_with_zeros(embedding[chunk], self.layout.objects),
                    "s8": self._of_objects("s8", s8_bchw, chunk),
                    "s4": self._of_objects("s4", s4_bchw, chunk),
                    "tokens": pad_with_zeros(sparse[chunk], self.layout.objects),
                    "token_valid": pad_with_zeros(valid[chunk], self.layout.objects),
                }
            )
            parts.append([output[:count] for output in answer])
        return DecodedMasks(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _of_objects(self, name: str, map_bchw: torch.Tensor, chunk: slice) -> torch.Tensor:
        """A fine map for some of the prompts: one for all, or one for each if the graph takes them."""
        room = self.session.inputs[name][0]
        if len(map_bchw) == 1:
            return map_bchw.expand(room, -1, -1, -1)
        return pad_with_zeros(map_bchw[chunk], room)


class OnnxModel(Sam2Model):
    """A model from an exported folder. Its parameters are only those that are used outside of the graphs."""

    takes_padded_memory = True

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Open an export.

        Args:
            folder: written by `sam2-ros export`.
            device: "auto", "cpu" or "cuda:N".

        Raises:
            CheckpointError: the export is incomplete, or onnxruntime does not have the device.
        """
        layout = ExportLayout.read(folder)
        sessions = {stage: StageSession(folder, stage, layout, device) for stage in layout.stages}
        with torch.device("meta"):  # nothing is stored for what the graphs replace
            super().__init__(layout.config)
        for name in REPLACED:
            delattr(self, name)
        self.sam_mask_decoder = OnnxMaskDecoder(sessions["mask_decoder"], layout)  # type: ignore[assignment]
        if layout.config.matching is not None:
            self.matching = OnnxMatching(sessions, layout)  # type: ignore[assignment]
        for name in ("no_obj_embed_spatial", "obj_ptr_tpos_proj"):
            if layout.version == "2.1":
                delattr(self, name)
        self.load_state_dict(_tables(folder, layout), assign=True)
        self.eval().requires_grad_(False)
        self.folder, self.layout, self._sessions = folder, layout, sessions
        self.compute_dtype = PRECISIONS[layout.precision]

    @property
    def parameter_count(self) -> int:
        return self.layout.parameters

    def precision(self) -> AbstractContextManager[object]:
        """A context that does nothing: number formats are fixed in the graphs; everything else is float32."""
        return nullcontext()

    def check_fits(self, config: TrackerConfig) -> None:
        """Check that the graphs have room for a tracker of these settings.

        Raises:
            CheckpointError: the tracker may need more objects or frames, or pools its memories.
        """
        layout = self.layout
        frames = layout.recent_frames + 1
        for name, wanted, room, option in (
            ("objects", config.max_objects, layout.objects, "objects"),
            ("conditioning frames", config.max_conditioning_frames, layout.conditioning_frames, "conditioning-frames"),
            ("memory frames", min(config.memory_frames, self.config.recent_memories + 1), frames, "memory-frames"),
        ):  # fmt: skip
            if wanted > room:
                raise CheckpointError(
                    f"{wanted} {name} wanted, {self.folder} was exported for {room}: use at most {room}, or export "
                    f"it again with --{option} {wanted}"
                )
        if config.memory_pooling > 1:
            raise CheckpointError(
                f"memory_pooling {config.memory_pooling}: exports support 1 only; give 1, or use backend torch"
            )

    def encode_image(self, image_b3hw: torch.Tensor) -> ImageFeatures:
        maps = [self._sessions["image_encoder"]({"image": one[None]}) for one in image_b3hw]
        return ImageFeatures(*(torch.cat(part) for part in zip(*maps, strict=True)))

    def fuse_memory(self, s16_bchw: torch.Tensor, memory: MemoryView) -> torch.Tensor:
        layout, b = self.layout, len(memory.spatial_bftc)
        self._check_batch(b)
        if len(s16_bchw) != 1:
            raise CheckpointError(f"features of {len(s16_bchw)} images: backend onnx takes those of one")
        frames, pointers = memory.spatial_bftc.shape[1], memory.pointers_bpd.shape[1]
        if frames > layout.frames or pointers > layout.pointers:
            raise CheckpointError(
                f"{frames} spatial memories and {pointers} pointers per object: {self.folder} was exported for "
                f"{layout.frames} and {layout.pointers}; export it again with more --conditioning-frames"
            )
        there = torch.ones(b, 1)
        valid_bf = there.expand(-1, frames) if memory.spatial_valid_bf is None else memory.spatial_valid_bf
        valid_bp = there.expand(-1, pointers) if memory.pointer_valid_bp is None else memory.pointer_valid_bp
        span = memory.pointer_span or self.config.max_pointers - 1
        given = {
            "spatial": (memory.spatial_bftc, layout.frames),
            "slots": (memory.slots_bf, layout.frames),
            "spatial_valid": (valid_bf, layout.frames),
            "pointers": (memory.pointers_bpd, layout.pointers),
            "pointer_age": (memory.distances_bp / span, layout.pointers),
            "pointer_valid": (valid_bp, layout.pointers),
        }
        inputs = {name: pad_with_zeros(x, layout.objects, length) for name, (x, length) in given.items()}
        return self._sessions["memory_attention"]({"s16": s16_bchw, **inputs})[0][:b]

    def encode_memory(
        self,
        s16_bchw: torch.Tensor,
        logits_b1hw: torch.Tensor,
        presence_b: torch.Tensor,
        binarize_b: torch.Tensor | None = None,
    ) -> torch.Tensor:
        b, n = len(logits_b1hw), self.layout.objects
        self._check_batch(b)
        binarize = torch.zeros(b) if binarize_b is None else binarize_b
        inputs = {"logits": logits_b1hw, "presence": presence_b, "binarize": binarize}
        inputs = {name: pad_with_zeros(x, n) for name, x in inputs.items()}
        return self._sessions["memory_encoder"]({"s16": s16_bchw, **inputs})[0][:b]

    def _check_batch(self, batch: int) -> None:
        if batch > self.layout.objects:
            raise CheckpointError(
                f"{batch} objects at once: {self.folder} was exported for {self.layout.objects}; set max_objects to "
                f"{self.layout.objects}, or export it again with --objects {batch}"
            )


def _tables(folder: Path, layout: ExportLayout) -> dict[str, torch.Tensor]:
    path = folder / TABLES
    try:
        with np.load(path, allow_pickle=False) as held:
            tables = {key: torch.from_numpy(held[key]) for key in held.files if key != "weights"}
            weights = str(held["weights"])
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}): export the model again"
        ) from None
    if weights != layout.weights:
        raise CheckpointError(f"{path} is of other weights than {MANIFEST}: export the model again")
    return tables
