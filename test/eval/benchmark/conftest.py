# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the folder: a set with one rendered sequence of two objects, and nano."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vos_layouts import write_sequence

from sam2_ros.engine import Sam2Model
from sam2_ros.synthetic.clip import ClipConfig
from sam2_ros.synthetic.render import render_clip
from sam2_ros.weights.load import load_model

FRAMES = 6


@pytest.fixture(scope="session")
def nano() -> Sam2Model:
    return load_model("nano", device="cpu")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with the sequence "clip": 6 frames, objects 3 and 7; 7 is annotated from frame 2 on."""
    config = ClipConfig(
        height_px=120, width_px=160, frames=FRAMES, objects=2, distractors=0, occluders=0, hide_probability=0,
        size_range=(0.3, 0.4), degrade=0, motion_scale=0.5,
    )  # fmt: skip
    clip = render_clip(5, config)
    labels = {}
    for index, (first, second) in enumerate(clip.masks):
        labels[index] = first * np.uint16(3)
        if index >= 2:
            labels[index] = labels[index] + second * np.uint16(7)
    folder = tmp_path_factory.mktemp("set")
    write_sequence(folder / "clip", list(clip.frames), labels)
    return folder
