# SPDX-License-Identifier: Apache-2.0
"""Decodes the prompt of one object on one frame: adopts a mask, or decodes clicks and a box, with or without memory.

Knows the model and a frame's features; does not know the memory bank or identities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from sam2_ros.text import readable

from .model.sam2 import ImageFeatures, MaskOutput, Sam2Model
from .preprocess import resize_mask, sparse_prompt
from .prompt import MAX_POINTS, Prompt, PromptError, joined_clicks

DENSE_PROMPT_LIMIT = 32.0  # clamp of earlier logits that are fed back as a dense prompt


@dataclass
class LastFrame:
    """The newest frame, kept until the next one comes, so that its prompts can be added to.

    Attributes:
        index: number of the frame.
        stamp_s, frame_hw: its time and its size in pixels.
        features: what the image encoder made of it.
        fused: by row of the bank: ``[1, C, h, w]``, the features with memory that the answer was decoded from. An
            object without an entry was answered without memory.
        outputs: by row: the answers, holes filled.
        prompts: by row: what an object was prompted with on this frame.
    """

    index: int
    stamp_s: float
    frame_hw: tuple[int, int]
    features: ImageFeatures
    fused: dict[int, torch.Tensor] = field(default_factory=dict)
    outputs: dict[int, MaskOutput] = field(default_factory=dict)
    prompts: dict[int, Prompt] = field(default_factory=dict)

    def forget(self, row: int) -> None:
        """The row is another object's from now on, or a new start of the same."""
        for part in (self.fused, self.outputs, self.prompts):
            part.pop(row, None)

    def forget_prompts(self, row: int) -> None:
        """The answer stays; a new prompt starts without memory, as in the official code."""
        self.fused.pop(row, None)
        self.prompts.pop(row, None)


def answer(
    model: Sam2Model,
    prompt: Prompt,
    frame_hw: tuple[int, int],
    features: ImageFeatures,
    fused_1chw: torch.Tensor | None,
    earlier: MaskOutput | None,
    stability_fallback: bool,
) -> MaskOutput:
    """The mask of one prompted object, a batch of one.

    A mask alone is adopted as it is; everything else is decoded.

    Args:
        prompt: checked, in pixels of the frame.
        fused_1chw: features with memory; None = start without memory.
        earlier: mask that is corrected: fed back as a dense prompt where it shows the object and `prompt` has no mask.
        stability_fallback: see `Numerics`.
    """
    size = model.config.image_size
    points, labels = sparse_prompt(prompt, frame_hw, size)
    mask = None if prompt.mask is None else resize_mask(prompt.mask, size, model.device)
    if mask is not None and points.shape[1] == 0:
        return model.adopt_mask(mask, features)
    if fused_1chw is None:
        fused_1chw = model.without_memory(features.s16)
    dense = None
    if mask is not None:
        dense = mask[:, None].float() * 20 - 10
    elif earlier is not None and bool(earlier.presence_b > 0):
        dense = earlier.logits_b1hw.clamp(-DENSE_PROMPT_LIMIT, DENSE_PROMPT_LIMIT)
    decoded = model.decode(fused_1chw, features, points.to(model.device), labels.to(model.device), dense)
    return model.predict(decoded, multimask=points.shape[1] == 1, stability_fallback=stability_fallback)


def with_earlier_clicks(prompt: Prompt, earlier: Prompt | None) -> Prompt:
    """Clicks are added to what was prompted before on the frame; a new box or mask takes its place (official
    `add_new_points_or_box` with `clear_old_points=False` or `True`, and `add_new_mask`)."""
    if earlier is None or prompt.box is not None or prompt.mask is not None:
        return prompt
    points, labels = joined_clicks(earlier, prompt)
    return replace(prompt, points=points, labels=labels, box=earlier.box)


def check_clicks_in_all(prompts: Sequence[Prompt], earlier: Mapping[str, Prompt]) -> None:
    """Raises PromptError where clicks would add up to more than `MAX_POINTS` for an object on the frame.

    Args:
        prompts: validated, in the order in which they will be taken.
        earlier: by id, what was prompted on the frame before.
    """
    totals = {id: 0 if prompt.points is None else len(prompt.points) for id, prompt in earlier.items()}
    for prompt in prompts:
        anew = prompt.replace or prompt.box is not None or prompt.mask is not None
        count = 0 if prompt.points is None else len(prompt.points)
        totals[prompt.id] = count + (0 if anew else totals.get(prompt.id, 0))
        if totals[prompt.id] > MAX_POINTS:
            raise PromptError(
                f"prompt '{readable(prompt.id)}': {totals[prompt.id]:,} points on one frame; expected at most "
                f"{MAX_POINTS:,} in all: begin anew with replace, a box or a mask"
            )
