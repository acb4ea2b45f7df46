# SPDX-License-Identifier: Apache-2.0
"""Decides whether an object that is looked for has been found: by its object score, and by what it looks like.

An object that is recalled from a file may be anywhere, or not there at all. The object score alone is too weak then: a
model that has seen only this object gives a high score to something else as well. Does not know tracks or frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .memory_bank import MemoryBank, inside
from .model.sam2 import ImageFeatures, Sam2Model
from .prompt_decoding import LastFrame

MIN_LIKENESS = 0.66
"""Measured with nano on sequences with and without the object, see docs/how-to/remember-objects.md."""
MIN_PRESENCE = 4.0
"""Object score for a model without matching memory, whose likeness is not known."""


def evidence_by_row(
    model: Sam2Model,
    bank: MemoryBank,
    features: ImageFeatures,
    known: Sequence[int],
    sought: set[int],
    now: int,
) -> dict[int, torch.Tensor]:
    """Read the matching memory for every row, see `Matching.read`.

    Objects that are looked for see the others as rivals, but are none to them: they may not be there.
    """
    found: dict[int, torch.Tensor] = {}
    for rows in ([row for row in known if row not in sought], known if sought else []):
        if rows:
            evidence = model.match(features, bank.match_view(rows, now)).split(1)
            found = dict(zip(rows, evidence, strict=True)) | found
    return {row: found[row] for row in known}


def is_alike(model: Sam2Model, bank: MemoryBank, row: int, last: LastFrame | None) -> bool:
    """True if the mask of one row on the newest frame shows what looks like the object on its prompted frames."""
    if last is None:
        return False
    output, keys = last.outputs[row], last.features.keys
    if keys is None:
        return bool(output.presence_b[0] > MIN_PRESENCE)
    found = inside(keys[0], model.match_values(output.logits_b1hw)[0])
    return likeness(found, bank.prompted_looks(row)) > MIN_LIKENESS


def likeness(found_mc: torch.Tensor, seen: Sequence[torch.Tensor]) -> float:
    """How alike two things are, -1..1: each cell is compared to the most similar one of the other (Chamfer similarity).

    Args:
        found_mc: keys of the cells of the one, unit vectors.
        seen: likewise of the other, ``[k, c]`` on each of some frames.

    Returns:
        Mean of two means: over what was found, compared to all frames; over the frame that fits best, compared to what
        was found. 0 without frames.
    """
    if not seen:
        return 0.0
    cosines = [found_mc.float() @ frame.float().t() for frame in seen]
    forward = torch.cat(cosines, dim=1).amax(dim=1).mean()
    backward = torch.stack([each.amax(dim=0).mean() for each in cosines]).max()
    return float((forward + backward) / 2)
