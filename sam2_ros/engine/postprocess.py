# SPDX-License-Identifier: Apache-2.0
"""Postprocessing: converts mask logits to masks at the frame's size, and measures their box, area and centroid.

Pure functions. Does not know ids or time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from .model.mask_decoder import upsample_logits
from .model.sam2 import MaskOutput

FILLED_LOGIT = 0.1


class ObjectMask(NamedTuple):
    """The mask of one object at the frame's size, on the host."""

    mask_hw: np.ndarray  # [H, W] bool
    logits_hw: np.ndarray  # [h, w] float32, low resolution
    score: float  # predicted IoU, 0..1
    presence: float  # object score logit


def object_masks(
    outputs: Sequence[MaskOutput], height_px: int, width_px: int, non_overlap: bool
) -> list[ObjectMask]:
    """The masks of outputs, each a batch of one; `non_overlap` as in `masks_at_frame`."""
    if not outputs:
        return []
    output = batched(outputs)
    masks = masks_at_frame(output.logits_b1hw, height_px, width_px, non_overlap)
    logits = output.logits_b1hw[:, 0].float().cpu().numpy()
    scores, presences = torch.stack([output.iou_b, output.presence_b]).float().tolist()
    return [ObjectMask(*parts) for parts in zip(masks, logits, scores, presences, strict=True)]


def masks_at_frame(
    logits_b1hw: torch.Tensor, height_px: int, width_px: int, non_overlap: bool = False
) -> np.ndarray:
    """Upsample logits to the frame, bilinear, and threshold them at 0.

    Args:
        logits_b1hw: ``[b, 1, h, w]``.
        height_px: height of the frame.
        width_px: width of the frame.
        non_overlap: where masks overlap, only the object with the highest logit keeps the pixel (official
            `_apply_non_overlapping_constraints`).

    Returns:
        ``[b, H, W]`` bool, copied to the host in one transfer.
    """
    logits_bhw = upsample_logits(logits_b1hw, (height_px, width_px))[:, 0]
    masks = logits_bhw > 0
    if non_overlap and len(masks) > 1:
        owner = logits_bhw.argmax(dim=0)
        masks &= owner == torch.arange(len(masks), device=owner.device).view(-1, 1, 1)
    return masks.cpu().numpy()


def fill_holes(logits_b1hw: torch.Tensor, area: int) -> torch.Tensor:
    """Fill 8-connected background regions of at most `area` cells with a logit of 0.1.

    Same as the official `fill_holes_in_mask_scores`, which needs a CUDA extension; this one uses OpenCV on the host.
    """
    filled = logits_b1hw.clone()
    for background, mask in zip((logits_b1hw <= 0).cpu().numpy(), filled, strict=True):
        regions, areas_px = connected_regions(background[0])
        small = 1 + np.flatnonzero(areas_px <= area)
        if len(small):
            mask[0][torch.from_numpy(np.isin(regions, small)).to(mask.device)] = FILLED_LOGIT
    return filled


def connected_regions(mask_hw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The n 8-connected regions of a mask: ``[H, W]`` number of each pixel's region, 1..n, 0 outside; and ``[n]`` areas
    in pixels."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask_hw.astype(np.uint8), connectivity=8)
    return regions, stats[1:, cv2.CC_STAT_AREA]


def tight_box(mask_hw: np.ndarray) -> tuple[int, int, int, int]:
    """Half-open box x0, y0, x1, y1 in pixels of a ``[H, W]`` mask; zeros when it is empty."""
    return measure_mask(mask_hw)[0]


def measure_mask(mask_hw: np.ndarray) -> tuple[tuple[int, int, int, int], int, tuple[float, float]]:
    """Tight half-open box, area in pixels and centroid (x, y) of a mask; zeros when it is empty."""
    per_row, per_column = mask_hw.sum(axis=1), mask_hw.sum(axis=0)
    area = int(per_row.sum())
    if area == 0:
        return (0, 0, 0, 0), 0, (0.0, 0.0)
    rows, columns = np.flatnonzero(per_row), np.flatnonzero(per_column)
    centroid = (
        float((per_column * np.arange(len(per_column))).sum() / area),
        float((per_row * np.arange(len(per_row))).sum() / area),
    )
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1), area, centroid


def with_holes_filled(output: MaskOutput, area: int) -> MaskOutput:
    """The output with holes of up to `area` low-resolution cells filled; 0 = unchanged."""
    return output._replace(logits_b1hw=fill_holes(output.logits_b1hw, area)) if area else output


def unbatched(output: MaskOutput) -> list[MaskOutput]:
    """Split a batch of n into n batches of one."""
    return [MaskOutput(*(part[i, None] for part in output)) for i in range(len(output.presence_b))]


def batched(outputs: Sequence[MaskOutput]) -> MaskOutput:
    """Join batches of one into one batch, float32."""
    return MaskOutput(*(torch.cat([part.float() for part in parts]) for parts in zip(*outputs, strict=True)))
