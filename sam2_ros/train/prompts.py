# SPDX-License-Identifier: Apache-2.0
"""The prompts of a training clip: their frames, their kinds, and corrective clicks where the prediction is wrong.

See the SAM 2 paper, section D.2.2. Coordinates are pixels of the model's input. Does not know the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import torch

from sam2_ros.engine.model.prompt_encoder import BOX_MAX, BOX_MIN, NEGATIVE, POSITIVE
from sam2_ros.engine.postprocess import tight_box

BOX_JITTER = 0.1
BOX_JITTER_LIMIT_PX = 20.0
TRUE_MASK_SHARE = 0.1  # share of corrective clicks on the whole object instead of on an error


class Points(NamedTuple):
    """Prompts in the format of the prompt encoder: ``[m, n, 2]`` coordinates, ``[m, n]`` labels."""

    points_mn2: torch.Tensor
    labels_mn: torch.Tensor

    @property
    def per_object(self) -> int:
        """Number of points on each object."""
        return self.points_mn2.shape[1]

    def to(self, device: torch.device) -> Points:
        return Points(self.points_mn2.to(device), self.labels_mn.to(device))

    def and_more(self, more: Points) -> Points:
        return Points(*(torch.cat(both, dim=1) for both in zip(self, more, strict=True)))


@dataclass(frozen=True)
class PromptPlan:
    """The prompts on the frames of a clip.

    Attributes:
        kind: "mask", "click" or "box": kind of the first prompts.
        conditioning: frames prompted from the start; the first is always frame 0.
        corrected: frames with corrective clicks; empty for masks.
        clicks: number of corrective clicks on each of them.
        masks_answered: True: a mask prompt is decoded and its answer scored, like other prompts. False: the mask itself
            is the answer, as in the tracker (`Sam2Model.mask_as_output`).
    """

    kind: str
    conditioning: tuple[int, ...] = (0,)
    corrected: tuple[int, ...] = ()
    clicks: int = 0
    masks_answered: bool = False


Draws = tuple[int, ...] | np.random.Generator
"""Source of random numbers: a seed, from which every draw gets its own generator, or one shared generator."""


@dataclass
class FramePrompts:
    """The points of one frame: drawn on the first call, the same on later calls.

    With gradient checkpointing a frame is computed twice, on a GPU with small differences: both passes must use the
    same clicks.
    """

    draws: Draws
    _clicks: list[Points] = field(default_factory=list)
    _first: Points | None = None

    def first(self, kind: str, masks_mhw: np.ndarray) -> Points:
        """A box or a click on each object."""
        if self._first is None:
            self._first = (simulate_boxes if kind == "box" else simulate_clicks)(self._rng(1000), masks_mhw)
        return self._first

    def click(self, number: int, predicted_mhw: torch.Tensor, true_mhw: torch.Tensor) -> Points:
        """Corrective click `number` on each object, one point each."""
        if number == len(self._clicks):
            predicted, true = predicted_mhw.cpu().numpy(), true_mhw.cpu().numpy()
            self._clicks.append(corrective_clicks(self._rng(number), predicted, true))
        return self._clicks[number]

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng((*self.draws, number)) if isinstance(self.draws, tuple) else self.draws


def simulate_boxes(rng: np.random.Generator, masks_mhw: np.ndarray) -> Points:
    """Tight boxes as two points each; each corner is moved by up to 10 % of the side, 20 px at most."""
    corners = np.zeros((len(masks_mhw), 2, 2), np.float32)
    height, width = masks_mhw.shape[1:]
    for box, mask in zip(corners, masks_mhw, strict=True):
        x0, y0, x1, y1 = tight_box(mask)
        reach = np.minimum(BOX_JITTER * np.array([x1 - x0, y1 - y0]), BOX_JITTER_LIMIT_PX)
        box[:] = np.array([[x0, y0], [x1, y1]]) + rng.uniform(-1, 1, (2, 2)) * reach
    points = torch.from_numpy(np.clip(corners, 0, [width, height]).astype(np.float32))
    return Points(points, torch.tensor([[BOX_MIN, BOX_MAX]]).expand(len(points), -1))


def simulate_clicks(rng: np.random.Generator, masks_mhw: np.ndarray) -> Points:
    """One positive click at a random pixel of each object."""
    clicks = np.zeros((len(masks_mhw), 1, 2), np.float32)
    for click, mask in zip(clicks, masks_mhw, strict=True):
        click[0] = _any_pixel(rng, mask)
    return Points(torch.from_numpy(clicks), torch.full((len(clicks), 1), POSITIVE))


def corrective_clicks(
    rng: np.random.Generator,
    predicted_mhw: np.ndarray,
    true_mhw: np.ndarray,
    inner: bool = False,
    cell_px: int = 1,
) -> Points:
    """One click per object at a random wrong pixel: positive on a missing pixel, negative on an extra one.

    Without an error, the click lies on the object; without an object, on the background.

    Args:
        inner: prefer pixels deep inside the error, as users aim at its middle. False: any pixel, and a tenth of the
            clicks is drawn from the whole object.
        cell_px: side of a mask cell in pixels of the model's input; the click is at a random pixel of the cell.
    """
    points = np.zeros((len(true_mhw), 1, 2), np.float32)
    labels = np.zeros((len(true_mhw), 1), np.int64)
    for point, label, predicted, true in zip(points, labels, predicted_mhw, true_mhw, strict=True):
        wrong = predicted != true
        if not wrong.any() or (not inner and rng.random() < TRUE_MASK_SHARE):
            wrong = true if true.any() else ~true
        if inner:
            depth = cv2.distanceTransform(np.pad(wrong, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
            wrong = depth >= max(rng.random() * depth.max(), 1e-3)
        x, y = _any_pixel(rng, wrong)
        label[0] = POSITIVE if true[y, x] else NEGATIVE
        point[0] = cell_px * np.array([x, y])
        if cell_px > 1:
            point[0] += rng.integers(0, cell_px, 2)
    return Points(torch.from_numpy(points), torch.from_numpy(labels))


def _any_pixel(rng: np.random.Generator, mask_hw: np.ndarray) -> tuple[int, int]:
    """x and y of a pixel of the mask."""
    ys, xs = np.nonzero(mask_hw)
    chosen = int(rng.integers(len(xs)))
    return int(xs[chosen]), int(ys[chosen])
