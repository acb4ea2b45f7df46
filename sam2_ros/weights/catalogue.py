# SPDX-License-Identifier: Apache-2.0
"""The catalogue of checkpoints: which models are known by name, and where their files are on this machine.

Knows names, addresses and folders. Opens no checkpoint, and downloads none.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sam2_ros.errors import CheckpointError
from sam2_ros.share_folder import shared_folder


@dataclass(frozen=True)
class ModelInfo:
    """One entry of models/models.yaml, and where its file is on this machine.

    Attributes:
        name: as given to `load_model`: nano, tiny, tiny-2.0, ...
        version: "2.0" or "2.1".
        parameters: number of weights.
        file: name of the checkpoint file.
        url: where it is downloaded from; empty if the weights come with this package.
        licence: SPDX identifier.
        sha256: hexadecimal; empty if no trustworthy public source for it is known.
        path: the file; None = not on this machine.
        hub: Hugging Face repository with the same file; empty = none.
        size_bytes: size of the file; 0 = not known.
    """

    name: str
    version: str
    parameters: int
    file: str
    url: str
    licence: str
    sha256: str
    path: Path | None
    hub: str = ""
    size_bytes: int = 0


def models_dir() -> Path:
    """The folder of models.yaml and of the weights that come with this package. Raises UserError."""
    return shared_folder("models", "models.yaml")


def download_dir() -> Path:
    """The folder of downloaded checkpoints: ``$SAM2_ROS_MODELS``, else ``~/.cache/sam2_ros``."""
    return Path(os.environ.get("SAM2_ROS_MODELS", Path.home() / ".cache" / "sam2_ros"))


def list_models() -> list[ModelInfo]:
    """All models known by name."""
    entries = yaml.safe_load((models_dir() / "models.yaml").read_text())["models"]
    return [_info(entry) for entry in entries]


def _info(entry: Mapping[str, Any]) -> ModelInfo:
    places = (models_dir() / entry["file"], download_dir() / entry["file"])
    path = next((place for place in places if place.is_file()), None)
    return ModelInfo(
        entry["name"],
        str(entry["version"]),
        int(entry["parameters"]),
        entry["file"],
        entry.get("url", ""),
        entry["licence"],
        entry.get("sha256", ""),
        path,
        entry.get("hub", ""),
        int(entry.get("bytes", 0)),
    )


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The checkpoint file of a model.

    Args:
        name_or_path: a name of models.yaml, a Hugging Face id, a file, or a folder with exactly one checkpoint.

    Raises:
        CheckpointError: an unknown name, a known model that is not on this machine, or no such file.
    """
    given = Path(name_or_path).expanduser()
    if given.is_file():
        return given
    if given.is_dir():
        found = sorted([*given.glob("*.safetensors"), *given.glob("*.pt")])
        if len(found) == 1:
            return found[0]
        raise CheckpointError(
            f"{given}: {len(found)} checkpoints in this folder; expected one .pt or .safetensors, name the file"
        )
    models = list_models()
    name = str(name_or_path)
    info = next((info for info in models if name in (info.name, info.hub) and name), None)
    if is_hub_id(name) and (info is None or info.path is None):
        return _cached_from_hub(name, info)
    if info is None:
        known = ", ".join(info.name for info in models)
        raise CheckpointError(f"model '{name}': no such file, and not one of {known}")
    if info.path is None and not info.url:
        raise CheckpointError(
            f"{models_dir() / info.file} is missing: the installation is incomplete; reinstall sam2_ros"
        )
    if info.path is None:
        raise CheckpointError(
            f"model '{info.name}' is not on this machine: `sam2-ros models fetch {info.name}`, or download {info.url} "
            f"elsewhere and put {info.file} into {download_dir()}"
        )
    return info.path


def is_hub_id(name: str) -> bool:
    """True if a name has the form of a Hugging Face repository, ``owner/name``."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None


def hub_file(info: ModelInfo | None) -> str:
    """The file of a Hugging Face repository that is used: the official checkpoint, else transformers' weights."""
    return "model.safetensors" if info is None else info.file


def _cached_from_hub(repository: str, info: ModelInfo | None) -> Path:
    """The file in the cache of huggingface_hub, where this package or transformers may have downloaded it."""
    from huggingface_hub import try_to_load_from_cache

    for file in dict.fromkeys((hub_file(info), "model.safetensors")):
        cached = try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return Path(cached)
    raise CheckpointError(
        f"'{repository}' is not a file, and not a Hugging Face model on this machine: "
        f"`sam2-ros models fetch {repository}`"
    )


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
