# SPDX-License-Identifier: Apache-2.0
"""Checks that a checkpoint is the published file, where its SHA-256 is known, and that it loads completely.

Downloads nothing. Does not know where checkpoints are (see catalogue.py) or how they are read (see load.py).
"""

from __future__ import annotations

from pathlib import Path

from sam2_ros.errors import CheckpointError

from .catalogue import find_checkpoint, list_models, sha256
from .load import load_model


def verify_weights(name_or_path: str) -> dict[str, str]:
    """Verify the checkpoint of a model.

    Args:
        name_or_path: see `load_model`.

    Returns:
        `name`, `file`, `recognised` (model and version), `sha256` and `verdict`.

    Raises:
        CheckpointError: the file is missing, differs from the published one, or does not load.
    """
    path = find_checkpoint(name_or_path)
    digest = sha256(path)
    models = list_models()
    asked = next(
        (i for i in models if name_or_path in (i.name, i.hub) and path.name == Path(i.file).name), None
    )
    if asked is not None and asked.sha256 and digest != asked.sha256:
        raise CheckpointError(
            f"{path} has SHA-256 {digest}, expected {asked.sha256} for '{name_or_path}': "
            "it is damaged or another file; fetch it again"
        )
    published = any(info.sha256 == digest for info in models)
    config = load_model(path, device="cpu", precision="fp32").config
    return {
        "name": name_or_path,
        "file": str(path),
        "recognised": f"{config.name} {config.version}",
        "sha256": digest,
        "verdict": "intact: as published"
        if published
        else "loads completely; no published SHA-256 to compare with",
    }
