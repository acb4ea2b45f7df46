# SPDX-License-Identifier: Apache-2.0
"""Which model made a memory: memories of one model mean nothing to another one, or to other weights.

Reads a model's weights and sizes. Does not know memories or files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from sam2_ros.engine import Sam2Model


@dataclass(frozen=True)
class ModelIdentity:
    """Name, version and input size of a model, and a digest of its weights.

    The digest is the same in every precision and on every device, compiled or not: it is of the weights as bfloat16.
    An ONNX export has a digest of its own, as it holds only a part of the weights as tensors.
    """

    name: str
    version: str
    image_size: int
    weights: str

    @staticmethod
    @torch.inference_mode()
    def of(model: Sam2Model) -> ModelIdentity:
        """The identity of a model; reads all of its weights."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(
                tensor.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
            )
        config = model.config
        return ModelIdentity(config.name, config.version, config.image_size, digest.hexdigest())

    def __str__(self) -> str:
        return f"{self.name} {self.version} at {self.image_size} px"

    def difference(self, other: ModelIdentity) -> str:
        """How another model differs from this one: `nano 2.1 at 448 px`, or `nano 2.1 with other weights`."""
        if str(self) != str(other):
            return str(other)
        return "" if self == other else f"{other} with other weights"
