# SPDX-License-Identifier: Apache-2.0
"""Caches image features on disk in float16, computed once by a frozen encoder.

Knows files and the encoder; does not know clips or losses.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sam2_ros.atomic_write import atomic_write
from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.engine.model.sam2 import ImageFeatures, Sam2Model
from sam2_ros.engine.preprocess import preprocess
from sam2_ros.eval.jobs.job import OnProgress
from sam2_ros.train.data.batch import FeatureKey

from .parameters import ENCODER


class FeatureCache:
    """One file per image, in a folder named after a fingerprint of the encoder's weights and the input size.

    Another encoder or input size has another folder.
    """

    def __init__(self, folder: Path, model: Sam2Model) -> None:
        self.model = model
        self.folder = folder / f"{model.config.image_size}px-{_fingerprint(model)}"

    def path(self, key: FeatureKey) -> Path:
        frame = key.sequence.frames.names[key.frame] + (".mirrored" if key.mirrored else "")
        return self.folder / key.sequence.name / f"{frame}.safetensors"

    @torch.no_grad()
    def fill(
        self, sequences: Sequence[VosSequence], mirrored: bool, rank: int, count: int, progress: OnProgress
    ) -> int:
        """Computes the missing features of every `count`-th annotated frame from `rank` on; returns their number."""
        sides = (False, True) if mirrored else (False,)
        keys = [FeatureKey(s, index, side) for s in sequences for index in s.truth.indices for side in sides]
        missing = [key for key in keys[rank::count] if not self.path(key).exists()]
        model = self.model
        for done, key in enumerate(missing):
            progress("encoding frames", done, len(missing))
            frame = key.sequence.image(key.frame)
            pixels = frame[:, ::-1].copy() if key.mirrored else frame
            with model.precision():
                features = model.encode_image(
                    preprocess(pixels, model.config.image_size, "image", model.device)
                )
            path = self.path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            tensors = {
                name: level[0].half().cpu().contiguous()
                for name, level in features._asdict().items()
                if level is not None
            }
            # The process id in the name: another run may fill the same cache at the same time.
            with atomic_write(path, path.with_suffix(f".{os.getpid()}.partial")) as partial:
                save_file(tensors, str(partial))
        return len(missing)

    def load(self, keys: Sequence[FeatureKey], device: torch.device) -> ImageFeatures:
        """Loads the features of some frames: ``[len(keys), c, h, w]`` each, float32."""
        files = [load_file(str(self.path(key))) for key in keys]
        return ImageFeatures(
            **{name: torch.stack([f[name] for f in files]).to(device).float() for name in files[0]}
        )


def _fingerprint(model: Sam2Model) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if name.startswith(ENCODER):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
