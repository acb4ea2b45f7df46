"""What a result says of an object: its mask at the frame's size, its numbers and its state.

Knows answers and tracks; does not know prompts, memory or the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .model.sam2 import MaskOutput
from .postprocess import masks_at_frame
from .prompt_decoding import DENSE_PROMPT_LIMIT, together
from .result import FrameResult, TrackedObject
from .track_state import Track

Answer = tuple[np.ndarray, np.ndarray, float, float]


def answers_at_frame(
    outputs: Sequence[MaskOutput], height_px: int, width_px: int, non_overlap: bool
) -> list[Answer]:
    """Mask at the frame's size, low-resolution logits, score and presence of every answered object."""
    if not outputs:
        return []
    output = together(outputs)
    masks = masks_at_frame(output.logits_b1hw, height_px, width_px, non_overlap)
    logits = output.logits_b1hw[:, 0].float().cpu().numpy()
    scores, presences = torch.stack([output.iou_b, output.presence_b]).float().tolist()
    return list(zip(masks, logits, scores, presences, strict=True))


def unseen(track: Track, result: FrameResult, mask_side: int) -> TrackedObject:
    """An object that was announced and has no answer yet; `mask_side`: low-resolution pixels."""
    return TrackedObject(
        id=track.id,
        label=track.label,
        class_id=track.class_id,
        mask=np.zeros((result.height_px, result.width_px), bool),
        logits=np.full((mask_side, mask_side), -DENSE_PROMPT_LIMIT, np.float32),
        score=0.0,
        presence=0.0,
        state=track.state,
        age_s=0.0,
        box=(0, 0, 0, 0),
        area_px=0,
        centroid_xy=(0.0, 0.0),
    )
