# SPDX-License-Identifier: Apache-2.0
"""The result folder of a training run: its files, and how the folder of an earlier version is recognised.

Does not know when a run writes which file.
"""

from __future__ import annotations

from pathlib import Path

import torch

from sam2_ros.datasets.rendered import is_rendered
from sam2_ros.errors import UserError
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.result_folder.manifest import MANIFEST, FileState
from sam2_ros.result_folder.switch import why_blocked
from sam2_ros.train.train_config import FinetuneConfig

OWN = ("checkpoint.pt", "log.jsonl", "best.safetensors", "last.safetensors", "curves.png", "summary.json")


def run_folder(out: Path, config: FinetuneConfig) -> ResultFolder:
    """The result folder of a run that starts or resumes. Raises UserError."""
    folder = ResultFolder(out, "train", (*OWN, "samples/"), _inputs(config), adopt=_older(out), called="out")
    if folder.state("features") is FileState.LINK:
        raise UserError(why_blocked(out, "features", FileState.LINK))
    return folder


def _inputs(config: FinetuneConfig) -> list[tuple[str, Path]]:
    data = [("the data", Path(one).expanduser()) for one in (*config.data, *config.validation_data)]
    models = [("the model", Path(name).expanduser()) for name in (config.model, config.teacher.model) if name]
    # A model may be a name such as nano instead of a path.
    return [(what, path) for what, path in data if not is_rendered(path)] + [
        (what, path) for what, path in models if path.is_file()
    ]


def _older(out: Path) -> list[str]:
    """Files of a run of an earlier version, which wrote no manifest: recognised by its checkpoint."""
    path = out / "checkpoint.pt"
    if (out / MANIFEST).exists() or path.is_symlink() or not path.is_file():
        return []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        known = {"config", "step", "model", "optimiser"} <= set(state)
    except Exception:  # for other files, the unpickler raises many types of exceptions
        return []
    samples = (f"samples/{file.name}" for file in sorted(out.glob("samples/[0-9]*_*.png")))
    return [name for name in (*OWN, *samples) if (out / name).is_file()] if known else []
