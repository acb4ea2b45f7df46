# SPDX-License-Identifier: Apache-2.0
"""The loss on single frames of a clip: prompted with a box or a click, then corrected where the prediction is wrong.

The features of every frame are already computed for tracking: this only adds the decoder. Does not know memory.
"""

from __future__ import annotations

import numpy as np
import torch

from sam2_ros.engine.model.mask_decoder import choose_mask
from sam2_ros.engine.model.sam2 import ImageFeatures, Sam2Model
from sam2_ros.engine.prompt_decoding import DENSE_PROMPT_LIMIT
from sam2_ros.train.data.batch import CELL_PX, ClipBatch
from sam2_ros.train.losses import LossConfig, answer_loss
from sam2_ros.train.prompts import corrective_clicks, simulate_boxes

BOX_SHARE = 0.5
ROUNDS = {"box": 2, "click": 3}  # answers per object: box, box + click; one, two, three clicks
LOGITS_SHARE = 0.5  # share of corrections with the previous logits as prompt, as in an image segmenter


def stills_loss(
    model: Sam2Model,
    features: ImageFeatures,
    batch: ClipBatch,
    most: int,
    rng: np.random.Generator,
    loss: LossConfig,
) -> torch.Tensor:
    """Mean loss over up to `most` random pairs of a frame and a visible object, and over the answers to each.

    Args:
        features: `rollout.encode_frames` of the batch.
        loss: settings of the loss.
    """
    frame, place = np.nonzero(batch.visible_tm.cpu().numpy())
    by_clip = np.lexsort((place, frame, batch.clip_m.cpu().numpy()[place]))
    chosen = rng.permutation(np.stack([frame, place], axis=1)[by_clip])[:most]
    boxes = round(BOX_SHARE * len(chosen))
    losses = []
    for kind, part in (("box", chosen[:boxes]), ("click", chosen[boxes:])):
        if len(part):
            losses += _answers(model, features, batch, kind, part, rng, loss)
    return torch.stack(losses).mean()


def _answers(
    model: Sam2Model,
    features: ImageFeatures,
    batch: ClipBatch,
    kind: str,
    where_k2: np.ndarray,
    rng: np.random.Generator,
    loss: LossConfig,
) -> list[torch.Tensor]:
    """One loss per round for the pairs in `where_k2`, rows of frame and object."""
    device = features.s16.device
    frame, place = torch.from_numpy(where_k2).to(device).unbind(dim=1)
    here = features.each(lambda level: level[batch.clip_m[place] * batch.frames + frame])
    target = batch.cover_tmhw[frame, place]
    true = target.cpu().numpy() > 0.5
    fused = model.without_memory(here.s16)
    if kind == "box":
        points = simulate_boxes(rng, batch.masks_tmhw[frame, place].cpu().numpy())
    else:
        points = corrective_clicks(rng, np.zeros_like(true), true, inner=True, cell_px=CELL_PX)
    logits: torch.Tensor | None = None
    losses = []
    seen = torch.ones(len(target), dtype=torch.bool, device=device)
    for number in range(ROUNDS[kind]):
        multimask = kind == "click" and number == 0
        decoded = model.decode(fused, here, *points.to(device), logits)
        # Every object is visible here: the term of the object score is left out.
        losses.append(answer_loss(decoded, target, seen, multimask, loss)[:3].sum() / len(target))
        if number + 1 < ROUNDS[kind]:
            given = choose_mask(decoded, multimask, stability_fallback=False).logits_b1hw.detach().float()
            predicted = given[:, 0].cpu().numpy() > 0
            points = points.and_more(corrective_clicks(rng, predicted, true, inner=True, cell_px=CELL_PX))
            logits = (
                given.clamp(-DENSE_PROMPT_LIMIT, DENSE_PROMPT_LIMIT) if rng.random() < LOGITS_SHARE else None
            )
    return losses
