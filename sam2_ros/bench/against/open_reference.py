# SPDX-License-Identifier: Apache-2.0
"""Opens a reference implementation by name, and checks before that it can run here.

Does not know how a reference works.
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
    """Checks that one of `REFERENCES` can be opened, without importing it, which would take memory.

    Raises UserError if the package is not installed or has no such model.
    """
    if importlib.util.find_spec(PACKAGES[name]) is None:
        raise missing(name, f"No module named '{PACKAGES[name]}'")
    if name == "transformers" and config.name not in OFFICIAL:
        raise UserError(
            f"--against transformers: it cannot run {config.name}, one of {', '.join(OFFICIAL)} expected"
        )


def open_reference(name: str, model: Sam2Model) -> Reference:
    """Opens one of `REFERENCES` with the weights, input size and precision of `model`.

    Raises UserError if the package is not installed or has no such model.
    """
    check_reference(name, model.config)
    if name == "transformers":
        return TransformersReference(model)
    return OfficialReference(model, compiled=name == "official-compiled")
