"""Checks that a checkpoint is what was published, where that is known, and that it loads completely.

Does not fetch anything; what a checkpoint is and where it lies is the business of `sam2_ros.weights`.
"""

from __future__ import annotations

from sam2_ros.weights import CheckpointError, find_checkpoint, list_models, load_model, sha256


def verify_weights(name_or_path: str) -> dict[str, str]:
    """`name`, `file`, `recognised` (family member and version), `sha256`, `verdict`.

    Raises CheckpointError when the file is missing, differs from the published one, or does not load.
    """
    path = find_checkpoint(name_or_path)
    digest = sha256(path)
    published = next((info.sha256 for info in list_models() if info.name == name_or_path), "")
    if published and digest != published:
        raise CheckpointError(
            f"{path} has SHA-256 {digest}, expected {published} for '{name_or_path}': "
            "it is damaged or another file; fetch it again"
        )
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
