# SPDX-License-Identifier: Apache-2.0
"""Interface of the reference implementations that `bench` times, and measures of the agreement of two outputs.

Does not know how to run a reference: `official` and `transformers` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sam2_ros.engine.config import ModelConfig
from sam2_ros.engine.model.hiera import HieraConfig
from sam2_ros.errors import UserError
from sam2_ros.eval.metrics import mask_iou

PACKAGES = {"official": "sam2", "official-compiled": "sam2", "transformers": "transformers"}
"""The package that each reference is imported from."""
REFERENCES = tuple(PACKAGES)
REMEDIES = {
    "sam2": "install it and the torchvision of your torch in an environment of its own "
    "(docs/explanation/performance.md)",
    "transformers": "pip install 'transformers>=5'",
}
Box = tuple[float, float, float, float]


@dataclass
class TrackerOutput:
    """A tracker's times and logits over a stream: one entry per frame."""

    frame_ms: list[float] = field(default_factory=list)
    logits: list[np.ndarray] = field(default_factory=list)  # [n, S / 4, S / 4] float32


class SteppedTracker(Protocol):
    """A tracker with given clip and boxes, stepped frame by frame."""

    def step(self) -> None:
        """Tracks the next frame, and waits until the device has finished."""

    def logits(self) -> np.ndarray:
        """``[n, S / 4, S / 4]`` float32: the mask logits of the objects on the last frame."""


class Reference(Protocol):
    """A reference implementation with its model loaded; tracks one clip after another."""

    def start(self, frames: Sequence[np.ndarray], boxes: Sequence[Box]) -> SteppedTracker:
        """Starts its tracker on ``[H, W, 3]`` uint8 RGB frames, with boxes (x0, y0, x1, y1 pixels) on the first frame.

        Resizes and normalises the frames here, before the first step.
        """


def missing(name: str, reason: object) -> UserError:
    """The error for a package that cannot be imported, with the `reason` and the remedy."""
    package = PACKAGES[name]
    return UserError(
        f"--against {name} needs the package {package}, which this Python cannot import ({reason}): {REMEDIES[package]}"
    )


def mask_agreement(theirs: TrackerOutput, ours: TrackerOutput) -> float:
    """Mean IoU of the masks of all objects on all frames, at the resolution of the logits; 1 if both are empty."""
    ious = [
        mask_iou(a > 0, b > 0)
        for one, other in zip(theirs.logits, ours.logits, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    return round(float(np.mean(ious)), 5)


def logit_error(theirs: TrackerOutput, ours: TrackerOutput) -> float:
    """Root mean square of the difference, divided by that of the reference, over all frames."""
    a, b = np.stack(theirs.logits), np.stack(ours.logits)
    return float(np.sqrt(((a - b) ** 2).mean() / (a**2).mean()))


def hiera_of(config: ModelConfig) -> HieraConfig:
    """The image encoder's configuration. Raises UserError if the encoder is not Hiera, which the references require."""
    if not isinstance(config.encoder, HieraConfig):
        raise UserError(
            f"--against: {config.name} has an image encoder other than Hiera, which the references require; give a "
            "model with Hiera"
        )
    return config.encoder
