# SPDX-License-Identifier: Apache-2.0
"""Enrolment: learns what one object looks like from one or several images, to find it later or elsewhere.

Does not know where images and prompts come from, nor where the result goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sam2_ros.engine import ObjectState, Prompt, Sam2Model, Tracker, TrackerConfig
from sam2_ros.engine.stored_object import store_objects
from sam2_ros.errors import UserError

from .identity import ModelIdentity
from .saved_state import SavedState


def enroll(
    model: Sam2Model,
    identity: ModelIdentity,
    images: Sequence[np.ndarray],
    prompts: Sequence[Prompt],
    id: str,
    config: TrackerConfig | None = None,
) -> SavedState:
    """Make the memory of one object from images that show it.

    Args:
        identity: of the model.
        images: ``[H, W, 3]`` uint8 RGB each; they need not follow each other.
        prompts: one for each image, in pixels of it; their ids do not count.
        id: the object's id.
        config: of the trackers that will look for it; there must be a conditioning slot for each image.

    Returns:
        A state of this object alone, with label 1 and no recent memory.

    Raises:
        UserError: numbers do not agree, a prompt is invalid, or the model sees nothing where a prompt is.
    """
    config = replace(config or TrackerConfig(), max_objects=1, forget_after_s=0.0)
    if not images or len(images) != len(prompts):
        raise UserError(
            f"{len(images)} images and {len(prompts)} prompts: expected one prompt for each image"
        )
    if len(images) > config.max_conditioning_frames:
        raise UserError(
            f"{len(images)} images: expected at most max_conditioning_frames = {config.max_conditioning_frames}; give "
            "those that differ most"
        )
    tracker = Tracker(model, config)
    for number, (image, prompt) in enumerate(zip(images, prompts, strict=True), start=1):
        # A prompt of its own on each image: tracking from one to the next could start from a wrong place.
        tracker.discontinuity()
        given = replace(prompt, id=id, replace=False)
        found = tracker.step(image, [given], stamp_s=float(number)).objects
        if not found or found[0].area_px == 0 or found[0].presence <= 0:
            raise UserError(f"image {number}: the prompt shows no object; give a box around it, or its mask")
    stored = replace(
        store_objects(tracker)[0].prompted_only(),
        state=ObjectState.PENDING,
        last_visible_s=float("-inf"),
        above=0,
        below=0,
        sought=True,
    )
    return SavedState(identity, (stored,), frame_index=0, next_label=2)
