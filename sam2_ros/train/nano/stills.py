"""Frames of a clip as single images: prompted with a box or a click, then corrected where the answer is wrong.

Every frame's features are there for tracking anyway, so that this costs a decoder only. Does not know memory.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from sam2_ros.engine.model.mask_decoder import choose_mask
from sam2_ros.engine.model.prompt_encoder import NEGATIVE, POSITIVE
from sam2_ros.engine.model.sam2 import ImageFeatures, Sam2Model
from sam2_ros.engine.prompt_decoding import DENSE_PROMPT_LIMIT

from .losses import frame_loss
from .simulate import simulate_boxes
from .unroll import ClipBatch

BOX_SHARE = 0.5
ROUNDS = {"box": 2, "click": 3}  # answers to a box and one click more; to one, two and three clicks
LOGITS_SHARE = (
    0.5  # of the corrections that come with the answer before them, as an image segmenter gives them
)
CELL_PX = 4  # of a mask's logits, in pixels of the model's input


def stills_loss(
    model: Sam2Model,
    features: ImageFeatures,
    batch: ClipBatch,
    most: int,
    rng: np.random.Generator,
    balance: float,
) -> torch.Tensor:
    """Mean loss over `most` objects drawn from all frames that show them, and over the answers to each.

    Args:
        features: `unroll.encode` of the batch.
        balance: see `losses.weighted_cross_entropy`.
    """
    b, t, n = batch.masks_btnhw.shape[:3]
    shown_btn = batch.visible_tm.view(t, b, n).permute(1, 0, 2).cpu().numpy()
    shown = np.argwhere(shown_btn & batch.masks_btnhw.any(axis=(3, 4)))
    chosen = rng.permutation(shown)[:most]
    boxes = round(BOX_SHARE * len(chosen))
    losses = []
    for kind, part in (("box", chosen[:boxes]), ("click", chosen[boxes:])):
        if len(part):
            losses += _answers(model, features, batch, kind, part, rng, balance)
    return torch.stack(losses).mean()


def _answers(
    model: Sam2Model,
    features: ImageFeatures,
    batch: ClipBatch,
    kind: str,
    where_k3: np.ndarray,
    rng: np.random.Generator,
    balance: float,
) -> list[torch.Tensor]:
    """One loss per round for the objects at `where_k3`, rows of clip, frame and object."""
    t, n = batch.masks_btnhw.shape[1:3]
    device = features.s16.device
    clip, frame, place = torch.from_numpy(where_k3).to(device).unbind(dim=1)
    here = ImageFeatures(*(level[clip * t + frame] for level in features))
    target = batch.targets_tmhw[frame, clip * n + place]
    true = target.cpu().numpy() > 0.5
    fused = model.without_memory(here.s16)
    if kind == "box":
        masks = batch.masks_btnhw[where_k3[:, 0], where_k3[:, 1], where_k3[:, 2]]
        points, labels = simulate_boxes(rng, masks)
    else:
        points, labels = click_errors(rng, np.zeros_like(true), true)
    logits: torch.Tensor | None = None
    losses = []
    for number in range(ROUNDS[kind]):
        multimask = kind == "click" and number == 0
        decoded = model.decode(fused, here, points.to(device), labels.to(device), logits)
        seen = torch.ones(len(target), dtype=torch.bool, device=device)
        answer = (decoded.logits_b4hw.float(), decoded.iou_b4.float(), decoded.presence_b.float())
        losses.append(frame_loss(*answer, target, seen, multimask, balance, presence_weight=0.0))
        if number + 1 < ROUNDS[kind]:
            given = choose_mask(decoded, multimask, stability_fallback=False).logits_b1hw.detach().float()
            more = click_errors(rng, given[:, 0].cpu().numpy() > 0, true)
            points, labels = torch.cat([points, more[0]], dim=1), torch.cat([labels, more[1]], dim=1)
            logits = (
                given.clamp(-DENSE_PROMPT_LIMIT, DENSE_PROMPT_LIMIT) if rng.random() < LOGITS_SHARE else None
            )
    return losses


def click_errors(
    rng: np.random.Generator, answer_khw: np.ndarray, true_khw: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """A click on each object in what its answer gets wrong, on cells: points ``[k, 1, 2]`` px, labels ``[k, 1]``.

    Anywhere in it, rather deep inside: a user aims at the middle of what is wrong. Where nothing is, on the object.
    """
    points, labels = np.zeros((len(true_khw), 1, 2), np.float32), np.zeros((len(true_khw), 1), np.int64)
    for point, label, answer, true in zip(points, labels, answer_khw, true_khw, strict=True):
        wrong = answer != true
        if not wrong.any():
            wrong = true if true.any() else ~true
        depth = cv2.distanceTransform(np.pad(wrong, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        ys, xs = np.nonzero(depth >= max(rng.random() * depth.max(), 1e-3))
        chosen = int(rng.integers(len(xs)))
        label[0] = POSITIVE if true[ys[chosen], xs[chosen]] else NEGATIVE
        point[0] = CELL_PX * np.array([xs[chosen], ys[chosen]]) + rng.integers(0, CELL_PX, 2)
    return torch.from_numpy(points), torch.from_numpy(labels)
