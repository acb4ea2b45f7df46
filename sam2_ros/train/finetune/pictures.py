# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of a run: frames with true outlines and predicted masks, and the curves of the log.

Knows arrays and log lines; does not know models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from sam2_ros.engine.preprocess import IMAGENET_MEAN, IMAGENET_STD
from sam2_ros.media.label_text import put_text
from sam2_ros.media.overlay import draw_masks, write_png
from sam2_ros.train.data.batch import ClipBatch

from .validate import SampleFrame

TILE_PX = 256
WHITE = (255, 255, 255)


def clip_samples(batch: ClipBatch, logits_tmhw: torch.Tensor) -> list[SampleFrame]:
    """The first clip of a training batch as the model sees it, with its last answers."""
    pixels = batch.pictures[0].permute(0, 2, 3, 1).float().cpu().numpy()
    frames = np.clip((pixels * IMAGENET_STD + IMAGENET_MEAN) * 255, 0, 255).round().astype(np.uint8)
    mine = batch.clip_m == 0
    truth, found = batch.masks_tmhw[:, mine].cpu().numpy(), (logits_tmhw[:, mine] > 0).cpu().numpy()
    return [SampleFrame(f, t, m) for f, t, m in zip(frames, truth, found, strict=True)]


def write_samples(path: Path, rows: Mapping[str, Sequence[SampleFrame]]) -> None:
    """Writes one PNG: a row of frames for each name, with filled predicted masks and true outlines in white."""
    rows_hwc = [_row(name, samples) for name, samples in rows.items() if samples]
    if not rows_hwc:
        return
    width = max(row.shape[1] for row in rows_hwc)
    padded = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=24) for s in rows_hwc]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.concatenate(padded))


def _row(name: str, samples: Sequence[SampleFrame]) -> np.ndarray:
    tiles = []
    for sample in samples:
        height, width = sample.frame_hwc.shape[:2]
        size = (max(1, round(TILE_PX * width / height)), TILE_PX)
        tile = draw_masks(cv2.resize(sample.frame_hwc, size), [_at(mask, size) for mask in sample.found_nhw])
        for mask in sample.truth_nhw:
            outline, _ = cv2.findContours(
                _at(mask, size).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(tile, outline, -1, WHITE, 1)
        tiles.append(np.pad(tile, ((0, 0), (0, 4), (0, 0)), constant_values=24))
    row = np.concatenate(tiles, axis=1)
    head = np.full((24, row.shape[1], 3), 24, np.uint8)
    put_text(head, name, (4, 17), 0.5, WHITE, 1)
    return np.concatenate([head, row])


def _at(mask_hw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(mask_hw.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0


def write_curves(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Writes one PNG over the steps: the loss and its terms; below, J, F and J&F on held-out sequences."""
    from sam2_ros.eval.report.plots import Line, Panel, write_panels

    def curve(name: str, **style: object) -> Line:
        points = [(line["step"], line[name]) for line in lines if name in line]
        return Line(name, [step for step, _ in points], [value for _, value in points], style)

    terms = ("mask", "dice", "iou", "presence", "teacher_mask", "teacher_features")
    losses = [curve("loss", linewidth=2), *(curve(name, linewidth=1) for name in terms)]
    panels = [
        Panel("loss per object and answer", [one for one in losses if one.x], from_zero=False),
        Panel(
            "held-out sequences, percent",
            [curve(name, marker="o") for name in ("J", "F", "JF")],
            from_zero=False,
        ),
    ]
    write_panels(path, panels, "step", (8, 7))
