# SPDX-License-Identifier: Apache-2.0
"""Compares an exported stage with the engine: the graph gets padded inputs, PyTorch each object alone.

Does not know files, or how a graph was made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from sam2_ros.engine.model.sam2 import MemoryView, Sam2Model

from .layout import MATCHING_STAGES, STAGES, ExportLayout

Inputs = dict[str, torch.Tensor]


def example_inputs(model: Sam2Model, layout: ExportLayout, stage: str) -> Inputs:
    """Random inputs of a stage from a fixed seed, scaled as real ones; for later objects some entries are padding."""
    generator = torch.Generator().manual_seed((*STAGES, *MATCHING_STAGES).index(stage))
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in layout.inputs(stage).items()}
    if stage == "memory_attention":
        slot = torch.arange(layout.frames)
        last, recent = model.config.num_maskmem - 1, slot - layout.conditioning_frames
        inputs["slots"] = torch.where(recent < 0, last, recent).expand(layout.objects, -1).clone()
        if "pointer_age" in inputs:
            ages = torch.arange(layout.pointers) / (model.config.max_pointers - 1)
            inputs["pointer_age"] = ages.expand(layout.objects, -1).clone()
    if stage == "memory_encoder":
        inputs["logits"] *= 5
        inputs["binarize"] = (torch.arange(layout.objects) % 2).float()
    if "past_keys" in inputs:
        keys = inputs["keys"] = F.normalize(inputs["keys"], dim=1)
        inputs["past_keys"] = F.normalize(keys + 0.1 * inputs["past_keys"], dim=1)
        inputs["masks"].sigmoid_()
    for name in ("spatial_valid", "pointer_valid", "token_valid"):
        if name in inputs:
            inputs[name] = _partly(inputs[name].shape)
    return inputs


def _partly(shape: torch.Size) -> torch.Tensor:
    """Validity ``[n, m]``: all entries of the first object, fewer for each further one, at least one."""
    n, m = shape
    counts = (m * torch.arange(n, 0, -1) // n).clamp(min=1)
    return (torch.arange(m) < counts[:, None]).float()


def engine_outputs(model: Sam2Model, stage: str, inputs: Inputs) -> list[torch.Tensor]:
    """Outputs of the engine for the same inputs, one object at a time and without padding."""
    if stage == "image_encoder":
        return [level for level in model.encode_image(inputs["image"]) if level is not None]
    if "past_keys" in inputs:
        return _match(model, stage, inputs)
    of_object: dict[str, Callable[[Sam2Model, Inputs], Sequence[torch.Tensor]]] = {
        "memory_attention": _fuse,
        "mask_decoder": _decode,
        "memory_encoder": _remember,
        "matching_embedding": _embed,
    }
    count = max(len(tensor) for tensor in inputs.values())
    each = [
        of_object[stage](model, {name: x[n, None] if len(x) == count else x for name, x in inputs.items()})
        for n in range(count)
    ]
    return [torch.cat(parts) for parts in zip(*each, strict=True)]


def _fuse(model: Sam2Model, one: Inputs) -> Sequence[torch.Tensor]:
    frames, pointers = one["spatial_valid"][0] > 0, one["pointer_valid"][0] > 0
    ages = one.get("pointer_age", one["pointer_valid"])[:, pointers]
    view = MemoryView(
        one["spatial"][:, frames], one["slots"][:, frames], one["pointers"][:, pointers], ages, 1
    )
    return [model.fuse_memory(one["s16"], view)]


def _decode(model: Sam2Model, one: Inputs) -> Sequence[torch.Tensor]:
    tokens = one["tokens"][:, one["token_valid"][0] > 0]
    place, nothing = model.sam_prompt_encoder.dense_position(), torch.zeros(1)
    return model.sam_mask_decoder(one["embedding"], place, tokens, nothing, one["s8"], one["s4"])


def _remember(model: Sam2Model, one: Inputs) -> Sequence[torch.Tensor]:
    presence = one.get("presence", one["binarize"])
    return [model.encode_memory(one["s16"], one["logits"], presence, one["binarize"] > 0)]


def _match(model: Sam2Model, stage: str, inputs: Inputs) -> list[torch.Tensor]:
    """Masks and weights of one past frame, for every object in turn."""
    keys, past = inputs["keys"], inputs["past_keys"][None]
    ones = torch.ones(1, len(keys), 1)
    columns = [*(mask[None, :, None] for mask in inputs["masks"]), ones]
    sums = [model.matching.sums(keys, past, column, stage == "matching_recent").t() for column in columns]
    return [torch.cat(sums[:-1]), sums[-1]]


def _embed(model: Sam2Model, one: Inputs) -> Sequence[torch.Tensor]:
    return model.matching.embedding(one["evidence"])


def largest_error(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Largest difference in any output, relative to the root mean square of that output; NaN if one holds NaN."""
    errors = [
        (a - b).abs().max() / b.square().mean().sqrt().clamp(min=1e-6)
        for a, b in zip(found, expected, strict=True)
    ]
    return float(torch.stack(errors).max())
