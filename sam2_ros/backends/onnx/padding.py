# SPDX-License-Identifier: Apache-2.0
"""Pads inputs to the fixed shapes of an export. Does not know which entries of the result are valid."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def pad_with_zeros(x: torch.Tensor, batch: int, length: int | None = None) -> torch.Tensor:
    """Pad with zeros: the first axis to `batch` entries, and the second to `length` if given."""
    sides = [0, batch - len(x)]
    if length is not None:
        sides = [0, length - x.shape[1], *sides]
    return F.pad(x, [0, 0] * (x.ndim - len(sides) // 2) + sides)
