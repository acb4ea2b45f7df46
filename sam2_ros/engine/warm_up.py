# SPDX-License-Identifier: Apache-2.0
"""Warms a model up: runs every stage that a stream needs once, so that the first frames are as fast as later ones.

Tracks black frames with a tracker of its own. Does not know who measures times.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from .model.sam2 import Sam2Model
from .prompt import Prompt
from .tracker import Tracker
from .tracker_config import IMAGE_MODE, TrackerConfig

CAMERA_HW = (480, 640)  # pixels; not the size of the model's input, so that resizing is run, too


def warm_up(model: Sam2Model, config: TrackerConfig = IMAGE_MODE) -> None:
    """Run a prompted frame, a tracked one, and a tracked one with a full memory bank, for one object.

    Everything that is slow the first time happens here: libraries choose and load kernels for these shapes, and the
    system allocates pages for the tensors. The model and its results do not change.

    Args:
        model: the model.
        config: of the trackers that will use the model; one object is tracked whatever its `max_objects`.
    """
    # Every frame becomes a memory, whatever the object score of black frames, and no object is forgotten early.
    config = replace(config, max_objects=1, memory_policy="official", memory_every=1, forget_after_s=0.0)
    tracker = Tracker(model, config)
    image = np.zeros((*CAMERA_HW, 3), np.uint8)
    height, width = CAMERA_HW
    tracker.step(image, [Prompt("warm-up", box=(width / 4, height / 4, width / 2, height / 2))])
    tracker.step(image)
    _fill(tracker, now=2)
    tracker.step(image)


@torch.inference_mode()
def _fill(tracker: Tracker, now: int) -> None:
    """Fill the bank as on frame `now` of a longer stream: recent frames and pointers of every age."""
    bank, config = tracker.bank, tracker.model.config
    pointers = torch.zeros_like(bank.pointers[:, 0])
    spatial = pointers.new_zeros(1, config.grid**2, config.mem_dim)
    for frame in range(now - bank.recent_pointers, now):
        bank.write_recents([0], frame, spatial, pointers)
    if config.matching is not None:
        keys, values = (pointers.new_zeros(4 * config.grid**2, c) for c in (config.matching.channels, 1))
        for frame in range(now - config.matching.recents, now):
            bank.write_matched([0], frame, keys, values.t(), pointers.new_ones(1), keys_id=-frame)
