"""Pictures of a run on disk: frames with true outlines and found masks, and the curves of the log.

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

from ..data.batch import ClipBatch
from .validate import SampleFrame

TILE_PX = 256
WHITE = (255, 255, 255)


def clip_samples(batch: ClipBatch, logits_tmhw: torch.Tensor) -> list[SampleFrame]:
    """The first clip of a training batch as the model saw it, with its last answers."""
    assert batch.images_bt3hw is not None
    pixels = batch.images_bt3hw[0].permute(0, 2, 3, 1).float().cpu().numpy()
    frames = np.clip((pixels * IMAGENET_STD + IMAGENET_MEAN) * 255, 0, 255).round().astype(np.uint8)
    mine = batch.clip_m == 0
    truth, found = batch.masks_tmhw[:, mine].cpu().numpy(), (logits_tmhw[:, mine] > 0).cpu().numpy()
    return [SampleFrame(f, t, m) for f, t, m in zip(frames, truth, found, strict=True)]


def write_samples(path: Path, rows: Mapping[str, Sequence[SampleFrame]]) -> None:
    """One PNG: a row of frames for each name, found masks filled, the true outline in white."""
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
    """One PNG: the loss and its terms over the steps above, J, F and their mean on held-out sequences below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    steps = [line for line in lines if "loss" in line]
    for name in ("loss", "mask", "dice", "iou", "presence", "teacher_mask", "teacher_features"):
        points = [(line["step"], line[name]) for line in steps if name in line]
        if points:
            above.plot(*zip(*points, strict=True), label=name, linewidth=2 if name == "loss" else 1)
    above.set_ylabel("loss per object and answer")
    scored = [line for line in lines if "JF" in line]
    for name in ("J", "F", "JF"):
        below.plot([line["step"] for line in scored], [line[name] for line in scored], marker="o", label=name)
    below.set_ylabel("held-out sequences, percent")
    below.set_xlabel("step")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.savefig(path, dpi=110)
