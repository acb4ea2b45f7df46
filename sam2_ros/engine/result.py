# SPDX-License-Identifier: Apache-2.0
"""The tracker's result for one frame: masks, states and times.

Plain numbers and numpy arrays; does not know how they were computed or where they go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

MAX_LABEL = 65534  # of uint16 label images; 0 is background


class ObjectState(IntEnum):
    """How well an object is followed; the values are those of sam2_ros_msgs/TrackedObject."""

    PENDING = 0  # prompted, not yet seen
    TRACKING = 1
    OCCLUDED = 2  # not visible now, memory kept
    LOST = 3  # not visible for longer than `lost_after_s`


@dataclass
class TrackedObject:
    """One object in one frame; what is left out is that of an object which has not been seen yet.

    Attributes:
        id: the name it was prompted with.
        label: its value in label images, 1..65534; stays with the id for life, never reused.
        class_id: as prompted.
        mask: ``[H, W]`` bool at the frame's size; empty when the object is not visible.
        logits: ``[h, w]`` float32 low-resolution mask logits, before the threshold at 0; ``[0, 0]`` when not kept.
        score: predicted mask IoU, 0..1.
        presence: object score logit; above 0 the model believes the object is visible.
        state: with hysteresis over frames.
        age_s: seconds since the object was last visible, 0 when it is.
        box: ``x0, y0, x1, y1`` tight half-open pixel box of the mask, zeros when not visible.
        area_px: pixels in the mask.
        centroid_xy: mean pixel of the mask, zeros when not visible.
    """

    id: str
    label: int
    class_id: str
    mask: np.ndarray
    logits: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    score: float = 0.0
    presence: float = 0.0
    state: ObjectState = ObjectState.PENDING
    age_s: float = 0.0
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    area_px: int = 0
    centroid_xy: tuple[float, float] = (0.0, 0.0)

    @property
    def visible(self) -> bool:
        """The decision for this frame alone; `state` has the hysteresis."""
        return self.presence > 0 and self.area_px > 0


@dataclass
class FrameResult:
    """All objects in one frame, in the order they were created.

    Attributes:
        frame_index: frames the tracker has seen before this one.
        stamp_s: the frame's time, seconds.
        height_px, width_px: size of the frame.
        objects: one entry per live object.
        rejected: prompt id -> reason, for prompts that could not be taken (no room).
        forgotten: ids dropped on this frame because they were lost for too long.
        timings_ms: milliseconds per stage: preprocess, encode, memory_attention, decode,
            memory_write, postprocess, total.
    """

    frame_index: int
    stamp_s: float
    height_px: int
    width_px: int
    objects: list[TrackedObject] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    timings_ms: dict[str, float] = field(default_factory=dict)

    def label_image(self) -> np.ndarray:
        """``[H, W]`` uint16: 0 = background, else the object's label.

        A pixel that several objects claim goes to the smallest of them: a small object in front of, or
        held by, a large one stays whole.
        """
        labels = np.zeros((self.height_px, self.width_px), np.uint16)
        for obj in sorted(self.objects, key=lambda o: -o.area_px):
            labels[obj.mask] = obj.label
        return labels
