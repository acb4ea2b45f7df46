# SPDX-License-Identifier: Apache-2.0
"""Recognises the model of a state dict, and loads it strictly: no tensor may be missing or left over.

Knows tensor names and shapes of the official checkpoints. Opens no file.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sam2_ros.engine.config import FAMILY, ModelConfig, config_for
from sam2_ros.errors import UserError

from .hiera import PATCH_EMBED, HieraConfig, shape_of
from .sam2 import Sam2Model

POINTER_TIME = "obj_ptr_tpos_proj.weight"


def recognise(state: Mapping[str, torch.Tensor]) -> ModelConfig:
    """The configuration of the model that a state dict belongs to, from its keys and shapes.

    Args:
        state: tensors under the keys of the official checkpoints.

    Raises:
        UserError: not a SAM 2 state dict, or one of an unknown size.
    """
    version = "2.1" if POINTER_TIME in state else "2.0"
    for name, config in FAMILY.items():
        if config.encoder.matches(state):
            return config_for(name, version)
    hiera = shape_of(state)
    if hiera is None:
        first = next(iter(state), "nothing")
        raise UserError(
            f"not a SAM 2 state dict: '{PATCH_EMBED}' is missing among its {len(state)} keys (first: '{first}')"
        )
    known = ", ".join(
        f"{c.name} {c.encoder.embed_dim} & {sum(c.encoder.stages)}"
        for c in FAMILY.values()
        if isinstance(c.encoder, HieraConfig)
    )
    raise UserError(f"image encoder of {hiera[0]} channels and {hiera[1]} blocks: expected one of {known}")


def check_finite(state: Mapping[str, torch.Tensor]) -> None:
    """Raise UserError if a tensor holds NaN or infinity, which would spread to every output."""
    broken = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise UserError(
            f"{len(broken)} of {len(state)} tensors hold numbers that are not finite (first: '{broken[0]}'): a "
            "training that diverged, or a damaged file"
        )


def load_strictly(model: Sam2Model, state: Mapping[str, torch.Tensor]) -> None:
    """Load a state dict; its tensors must be exactly those of the model, in name and shape.

    Raises:
        UserError: with the number of wrong tensors and the names of the first ones. The model is unchanged.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} is {list(state[key].shape)}, expected {list(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    findings = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if keys
    ]
    if findings:
        raise UserError(
            f"state dict does not fit SAM {model.config.version} {model.config.name}: {'; '.join(findings)}"
        )
    model.load_state_dict(state, strict=True)
