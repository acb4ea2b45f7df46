# SPDX-License-Identifier: Apache-2.0
"""Opens a reference implementation by its name, and checks beforehand that it can run here.

Does not know what a reference is made of.
"""

from __future__ import annotations

import importlib.util

from sam2_ros.engine import ModelConfig, Sam2Model
from sam2_ros.engine.config import OFFICIAL
from sam2_ros.errors import UserError

from .official import OfficialReference
from .reference import PACKAGES, Reference, missing
from .transformers import TransformersReference


def check_reference(name: str, config: ModelConfig) -> None:
    """Whether one of `REFERENCES` can be opened, as far as can be told without importing it, which takes memory.

    Raises UserError: the package is not installed, or has no such model.
    """
    if importlib.util.find_spec(PACKAGES[name]) is None:
        raise missing(name, f"No module named '{PACKAGES[name]}'")
    if name == "transformers" and config.name not in OFFICIAL:
        raise UserError(
            f"--against transformers: it cannot run {config.name}, one of {', '.join(OFFICIAL)} expected"
        )


def open_reference(name: str, model: Sam2Model) -> Reference:
    """One of `REFERENCES` with the weights, the input size and the precision of `model`.

    Raises UserError: the package is not installed, or has no such model.
    """
    check_reference(name, model.config)
    if name == "transformers":
        return TransformersReference(model)
    return OfficialReference(model, compiled=name == "official-compiled")
