# SPDX-License-Identifier: Apache-2.0
"""Turns the prompt of one object on one frame into its mask: a mask is used as it is, clicks and a box are decoded.

Knows the model and a frame's features. Does not know the memory bank or ids of objects.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from sam2_ros.text import readable

from .model.sam2 import ImageFeatures, MaskOutput, Sam2Model
from .preprocess import resize_mask, sparse_prompt
from .prompt import MAX_POINTS, Prompt, PromptError, joined_clicks

new_keys_id = itertools.count().__next__
"""A number for the keys of a frame in the matching memory that no other frame of this process has."""
DENSE_PROMPT_LIMIT = 32.0  # earlier logits that are fed back as a dense prompt are clamped to +-32


@dataclass
class LastFrame:
    """The newest frame, kept until the next one so that its prompts can be refined.

    Attributes:
        index: index of the frame.
        stamp_s: its time, seconds.
        frame_hw: its height and width, pixels.
        features: output of the image encoder.
        fused: by row of the bank: ``[1, d_model, side, side]``, the features with memory from which the mask was
            decoded. An object without an entry was decoded without memory.
        evidence: by row: ``[1, 6, 2 side, 2 side]``, what the matching memory found, if the model has one.
        outputs: by row: the mask of each object, holes filled.
        prompts: by row: the prompt of each object on this frame.
        keys_id: of its keys in the matching memory; no other frame of this process has it.
    """

    index: int
    stamp_s: float
    frame_hw: tuple[int, int]
    features: ImageFeatures
    fused: dict[int, torch.Tensor] = field(default_factory=dict)
    evidence: dict[int, torch.Tensor] = field(default_factory=dict)
    outputs: dict[int, MaskOutput] = field(default_factory=dict)
    prompts: dict[int, Prompt] = field(default_factory=dict)
    keys_id: int = field(default_factory=new_keys_id)

    def evidence_of(self, rows: Sequence[int]) -> torch.Tensor | None:
        """The evidence of several rows in one batch; None if the model has no matching memory."""
        return torch.cat([self.evidence[row] for row in rows]) if self.evidence else None

    def forget(self, row: int) -> None:
        """Drop everything of one row, which gets a new object or starts again."""
        for part in (self.fused, self.evidence, self.outputs, self.prompts):
            part.pop(row, None)

    def forget_prompts(self, row: int) -> None:
        """Drop the prompts of one row. Its output stays; a new prompt is decoded without memory, as officially."""
        self.fused.pop(row, None)
        self.evidence.pop(row, None)
        self.prompts.pop(row, None)


def decode_prompt(
    model: Sam2Model,
    prompt: Prompt,
    frame_hw: tuple[int, int],
    features: ImageFeatures,
    fused_1chw: torch.Tensor | None,
    earlier: MaskOutput | None,
    stability_fallback: bool,
    evidence_16hw: torch.Tensor | None = None,
) -> MaskOutput:
    """The mask of one prompted object.

    A prompt with only a mask is not decoded: the mask is the output. Everything else goes through the mask decoder.

    Args:
        model: the model.
        prompt: validated, in pixels of the frame.
        frame_hw: height and width of the frame, pixels.
        features: of the frame, batch 1.
        fused_1chw: features with memory, ``[1, d_model, side, side]``; None = decode without memory.
        earlier: the mask to correct; fed back as a dense prompt if it shows the object and `prompt` has no mask.
        stability_fallback: see `Numerics`.
        evidence_16hw: from the matching memory, ``[1, 6, 2 side, 2 side]``; None = without.

    Returns:
        A batch of one.
    """
    size = model.config.image_size
    points, labels = sparse_prompt(prompt, frame_hw, size)
    mask = None if prompt.mask is None else resize_mask(prompt.mask, size, model.device)
    if mask is not None and points.shape[1] == 0:
        return model.mask_as_output(mask, features)
    if fused_1chw is None:
        fused_1chw = model.without_memory(features.s16)
    dense = None
    if mask is not None:
        dense = mask[:, None].float() * 20 - 10
    elif earlier is not None and bool(earlier.presence_b > 0):
        dense = earlier.logits_b1hw.clamp(-DENSE_PROMPT_LIMIT, DENSE_PROMPT_LIMIT)
    given = points.to(model.device), labels.to(model.device)
    decoded = model.decode(fused_1chw, features, *given, dense, evidence_16hw)
    return model.predict(decoded, multimask=points.shape[1] == 1, stability_fallback=stability_fallback)


def with_earlier_clicks(prompt: Prompt, earlier: Prompt | None) -> Prompt:
    """Add the clicks of `prompt` to the earlier prompt of the frame; a new box or mask replaces that (official
    `add_new_points_or_box` with `clear_old_points=False` or `True`, and `add_new_mask`)."""
    if earlier is None or prompt.box is not None or prompt.mask is not None:
        return prompt
    points, labels = joined_clicks(earlier, prompt)
    return replace(prompt, points=points, labels=labels, box=earlier.box)


def check_clicks_in_all(prompts: Sequence[Prompt], earlier: Mapping[str, Prompt]) -> None:
    """Check that no object gets more than `MAX_POINTS` clicks on the frame in all.

    Args:
        prompts: validated, in the order in which they will be applied.
        earlier: by id, the prompts that were applied to the frame before.

    Raises:
        PromptError: too many clicks.
    """
    totals = {id: 0 if prompt.points is None else len(prompt.points) for id, prompt in earlier.items()}
    for prompt in prompts:
        anew = prompt.replace or prompt.box is not None or prompt.mask is not None
        count = 0 if prompt.points is None else len(prompt.points)
        totals[prompt.id] = count + (0 if anew else totals.get(prompt.id, 0))
        if totals[prompt.id] > MAX_POINTS:
            raise PromptError(
                f"prompt '{readable(prompt.id)}': {totals[prompt.id]:,} points on one frame; expected at most "
                f"{MAX_POINTS:,} in all: start again with replace, a box or a mask"
            )
