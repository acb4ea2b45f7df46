# SPDX-License-Identifier: Apache-2.0
"""The tracker's result for one frame: masks, states and times.

Plain numbers and numpy arrays. Does not know how they were computed or where they go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

MAX_LABEL = 65534  # of uint16 label images; 0 is background


class ObjectState(IntEnum):
    """State of a tracked object, with hysteresis over frames. Values as in sam2_ros_msgs/TrackedObject.

    Attributes:
        PENDING: prompted, not yet visible.
        TRACKING: visible.
        OCCLUDED: hidden; its memories are kept, and it is tracked again when it reappears.
        LOST: hidden for longer than `TrackerConfig.lost_after_s`; still tracked again when it reappears.
    """

    PENDING = 0
    TRACKING = 1
    OCCLUDED = 2
    LOST = 3


@dataclass
class TrackedObject:
    """One object in one frame. The defaults describe an object that has not been visible yet.

    Attributes:
        id: the id it was prompted with.
        label: its value in label images, 1..65534; belongs to the id as long as the object exists, and is never reused.
        class_id: as prompted.
        mask: ``[H, W]`` bool at the frame's size; all False when the object is not visible.
        logits: ``[S / 4, S / 4]`` float32 mask logits, S = side of the model's input; the mask is where they exceed 0.
            ``[0, 0]`` when not kept.
        score: predicted IoU of the mask, 0..1.
        presence: object score logit; above 0 the model predicts that the object is visible.
        state: with hysteresis over frames, see `ObjectState`.
        age_s: seconds since the object was last visible, 0 when it is.
        box: tight box of the mask, x0, y0, x1, y1 in pixels, max exclusive; zeros when not visible.
        area_px: pixels in the mask.
        centroid_xy: mean (x, y) of the mask's pixels; zeros when not visible.
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
        """True if the object is visible in this frame, without the hysteresis of `state`."""
        return self.presence > 0 and self.area_px > 0


@dataclass
class FrameResult:
    """Result of one frame.

    Attributes:
        frame_index: index of the frame, from 0.
        stamp_s: time of the frame, seconds.
        height_px: height of the frame, pixels.
        width_px: width of the frame, pixels.
        objects: one entry per tracked object, in the order they were created.
        rejected: reason by prompt id, of prompts without room: too many objects, or no label left.
        forgotten: ids of objects that were dropped on this frame: hidden for longer than
            `TrackerConfig.forget_after_s`.
        timings_ms: milliseconds by stage: preprocess, encode, memory_attention, decode, memory_write, postprocess, and
            their total; of a model with a matching memory also matching.
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
        """All masks as one image, ``[H, W]`` uint16: 0 = background, else the object's label.

        Where masks overlap, the smallest object has the pixel: a small object in front of a large one, or held by it,
        stays whole.
        """
        labels = np.zeros((self.height_px, self.width_px), np.uint16)
        for obj in sorted(self.objects, key=lambda o: -o.area_px):
            labels[obj.mask] = obj.label
        return labels
