# SPDX-License-Identifier: Apache-2.0
"""Scenes for the tests of policies: rendered clips, tracked by nano with masks as prompts."""

from __future__ import annotations

import numpy as np

from sam2_ros.engine import FrameResult, Prompt, Tracker, TrackerConfig
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.synthetic.clip import Clip, ClipConfig
from sam2_ros.synthetic.render import render_clip

SIDE = 256


def clip(seed: int = 3, frames: int = 12, **settings: float) -> Clip:
    """Two objects, nothing else."""
    plain = {"hide_probability": 0.0, "degrade": 0.0, "size_range": (0.3, 0.5), "motion_scale": 0.5}
    return render_clip(
        seed, ClipConfig(SIDE, SIDE, frames, objects=2, distractors=0, occluders=0, **{**plain, **settings})
    )


def tracker(model: Sam2Model, *policies: str, objects: int = 2) -> Tracker:
    return Tracker(model, TrackerConfig(max_objects=objects, policies=policies or ("official",)))


def track(
    one: Tracker, frames: np.ndarray, prompts: dict[int, list[Prompt]] | None = None
) -> list[FrameResult]:
    return [one.step(frame, (prompts or {}).get(index, ())) for index, frame in enumerate(frames)]


def recents(one: Tracker, id: str) -> list[int]:
    """Frames of the recent matching memories of an object, in order."""
    store = one.bank.stores[-1]
    frames = store.frames[one.tracks[id].row, store.conditioning :]
    return sorted(int(frame) for frame in frames if frame >= 0)
