# SPDX-License-Identifier: Apache-2.0
"""Cases that both implementations run: images, clips, prompts, flavours.

Knows neither implementation: `make_goldens.py` runs the official one, `test_goldens.py` sam2_ros.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from parity.scene import moving_disc

GOLDENS = Path(__file__).parent / "goldens"
STATE_DICTS = GOLDENS / "state_dicts.json"
GENERATOR_OPTIONS = GOLDENS / "generator_options.json"
SIZE_PX = 128
FRAMES = 24
KEPT_FRAMES = (0, 1, 5, 6, 7, 12, 16, 17, 20, 23)  # frames whose logits and pointers are stored
WHITE_FRAMES = (4, 14, 15)  # frames on which the object score is below 0
IMAGE_SEED = 2
VIDEO_SEED = 6


def image() -> np.ndarray:
    """``[96, 160, 3]``: neither square nor of the model's input size, so that resizing is tested, too."""
    return np.ascontiguousarray(moving_disc(1, 160, seed=3)[0, 32:128])


def clip() -> np.ndarray:
    frames = moving_disc(FRAMES, SIZE_PX)
    frames[list(WHITE_FRAMES)] = 255
    return frames


def disc(centre_x: float, centre_y: float, radius: float) -> np.ndarray:
    """A mask whose edges do not follow the low-resolution pixels."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX] + 0.5
    return np.asarray((x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2)


@dataclass(frozen=True)
class ImageCase:
    """One prompt in pixels of `image()`.

    Attributes:
        mask: also prompt with random low-resolution logits.
        postprocessing: official `apply_postprocessing`, for unstable single masks.
    """

    points: list[list[float]] | None = None
    labels: list[int] | None = None
    box: list[float] | None = None
    mask: bool = False
    postprocessing: bool = True

    def arguments(self) -> tuple[Any, Any, Any, Any]:
        """points, labels, box and mask logits, as arrays."""
        low = SIZE_PX // 4
        return (
            None if self.points is None else np.array(self.points, np.float32),
            None if self.labels is None else np.array(self.labels),
            None if self.box is None else np.array(self.box, np.float32),
            np.random.default_rng(0).normal(0, 6, (low, low)).astype(np.float32) if self.mask else None,
        )


IMAGE_CASES = {
    "one point": ImageCase([[50.0, 48.0]], [1]),
    "three points": ImageCase([[50.0, 48.0], [120.5, 20.0], [60.0, 60.0]], [1, 0, 1]),
    "box": ImageCase(box=[22.5, 20.0, 78.0, 70.0]),
    "box and points": ImageCase([[50.0, 48.0], [30.0, 22.0]], [1, 0], [22.5, 20.0, 78.0, 70.0]),
    "mask and point": ImageCase([[50.0, 48.0]], [1], mask=True),
    "box, not postprocessed": ImageCase(box=[22.5, 20.0, 78.0, 70.0], postprocessing=False),
}

# With random weights masks are noise across the whole image: nearly all boxes overlap, and every mask of a crop is cut
# by its edge. What can be compared is clicks, scores and stability; the rest has tests of its own.
EVERYTHING_CASES = {
    "grid": {
        "points_per_side": 6, "points_per_batch": 16, "pred_iou_thresh": 0.55, "stability_score_thresh": 0.3,
        "box_nms_thresh": 1.0,
    },
    "suppressed": {
        "points_per_side": 6, "pred_iou_thresh": 0.55, "stability_score_thresh": 0.3, "box_nms_thresh": 0.9,
    },
    "crops": {
        "points_per_side": 4, "pred_iou_thresh": 0.5, "stability_score_thresh": 0.2, "box_nms_thresh": 1.0,
        "crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "crop_nms_thresh": 1.0,
    },
    "single masks": {
        "points_per_side": 4, "pred_iou_thresh": 0.55, "stability_score_thresh": 0.3, "box_nms_thresh": 1.0,
        "multimask_output": False,
    },
    "fed back": {
        "points_per_side": 4, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.2, "box_nms_thresh": 1.0,
        "use_m2m": True,
    },
    "point grids": {
        "points_per_side": None, "pred_iou_thresh": 0.5, "stability_score_thresh": 0.2, "box_nms_thresh": 1.0,
        "crop_n_layers": 1, "crop_nms_thresh": 1.0, "point_grids": [
            np.array([[0.3, 0.5], [0.7, 0.25], [0.5, 0.9], [0.05, 0.1]]), np.array([[0.4, 0.6]]),
        ],
    },
    "mask threshold": {
        "points_per_side": 4, "pred_iou_thresh": 0.5, "stability_score_thresh": 0.2, "box_nms_thresh": 1.0,
        "mask_threshold": 1.5, "stability_score_offset": 0.8,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Event:
    """An action of the user on one frame, before it is tracked.

    Attributes:
        correction: the action comes after the frame was tracked.
        refine: the prompt is added to those of this frame or, with `correction`, to a frame that was only tracked.
        take_back: index of the frame whose prompts are undone.
    """

    frame: int
    object_id: str
    points: list[list[float]] | None = None
    labels: list[int] | None = None
    box: list[float] | None = None
    mask: np.ndarray | None = field(default=None, compare=False)
    correction: bool = False
    refine: bool = False
    remove: bool = False
    take_back: int | None = None

    @property
    def is_prompt(self) -> bool:
        return not self.remove and self.take_back is None


@dataclass(frozen=True)
class VideoCase:
    """Events in the order of their frames.

    Attributes:
        flavour: `TrackerConfig.numerics`; the official predictor is built to match.
        backward: track from the last frame of the clip to the first.
        fill_hole_area: see `TrackerConfig`.
        corrections_are_conditioning: see `TrackerConfig`. With False the official predictor continues on the frame
            after a correction; it would overwrite the correction otherwise.
        presence_bias: chosen so that the object score is below 0 on the white frames, and rarely elsewhere.
        kept_frames: frames whose logits and pointers are stored.
        last_frame: where tracking ends.
    """

    events: tuple[Event, ...]
    flavour: str = "official_video"
    size: str = "tiny"
    backward: bool = False
    fill_hole_area: int = 0
    corrections_are_conditioning: bool | None = None
    presence_bias: float = -3.95
    kept_frames: tuple[int, ...] = KEPT_FRAMES
    last_frame: int = FRAMES - 1


CLICK = Event(0, "a", [[40.0, 64.0]], [1])
BOX = Event(0, "a", box=[18.5, 40.0, 62.0, 90.0])
CORRECTION = Event(6, "a", [[100.0, 30.0], [64.0, 100.0]], [1, 1], correction=True)
ANOTHER_CLICK = Event(0, "a", [[80.0, 30.0]], [0], refine=True)
AROUND_6: dict[str, Any] = {"kept_frames": (5, 6, 7, 12), "last_frame": 12}
AT_FIRST: dict[str, Any] = {"kept_frames": (0, 1, 7), "last_frame": 7}
SECOND = Event(5, "b", box=[60.0, 10.0, 120.0, 60.5])
VIDEO_CASES = {
    "click": VideoCase((CLICK,)),
    "click, base_plus": VideoCase((CLICK,), size="base_plus", presence_bias=-3.5),
    "box": VideoCase((BOX,)),
    "box, vos": VideoCase((BOX,), flavour="official_vos"),
    "box, holes filled": VideoCase((BOX,), fill_hole_area=8),
    "mask": VideoCase((Event(0, "a", mask=disc(39.0, 63.0, 22.3)),)),
    "mask, vos": VideoCase((Event(0, "a", mask=disc(39.0, 63.0, 22.3)),), flavour="official_vos"),
    "a second object later": VideoCase((CLICK, SECOND)),
    "removal": VideoCase((CLICK, SECOND, Event(13, "a", remove=True))),
    "correction": VideoCase((CLICK, CORRECTION), flavour="stream", presence_bias=-2.0),
    "correction, holes filled": VideoCase(
        (CLICK, CORRECTION), flavour="stream", fill_hole_area=8, presence_bias=-2.0, **AROUND_6
    ),
    "correction, not conditioning": VideoCase(
        (CLICK, CORRECTION),
        flavour="stream",
        corrections_are_conditioning=False,
        presence_bias=-2.0,
        **AROUND_6,
    ),
    "another click": VideoCase((CLICK, ANOTHER_CLICK), fill_hole_area=8, **AT_FIRST),
    "a click on a box": VideoCase((BOX, ANOTHER_CLICK), presence_bias=-2.0, **AT_FIRST),
    "a click on a mask": VideoCase(
        (Event(0, "a", mask=disc(39.0, 63.0, 22.3)), ANOTHER_CLICK), presence_bias=-2.0, **AT_FIRST
    ),
    "another click on a correction": VideoCase(
        (CLICK, CORRECTION, Event(6, "a", [[30.0, 100.0]], [0], correction=True, refine=True)),
        flavour="stream",
        presence_bias=-2.0,
        **AROUND_6,
    ),
    "a second prompt": VideoCase((CLICK, Event(6, "a", box=[30.0, 40.0, 80.0, 100.5]))),
    "taken back": VideoCase(
        (CLICK, Event(6, "a", box=[30.0, 40.0, 80.0, 100.5]), Event(10, "a", take_back=6))
    ),
    "the first taken back": VideoCase(
        (CLICK, Event(6, "a", box=[30.0, 40.0, 80.0, 100.5]), Event(8, "a", take_back=0))
    ),
    "backward": VideoCase((Event(0, "a", [[80.0, 70.0]], [1]),), backward=True),
}


def digest(shapes: Mapping[str, Sequence[int]]) -> str:
    """SHA-256 of the sorted names and shapes of a state dict."""
    lines = sorted(f"{key} {list(shape)}" for key, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_of(kind: str, name: str) -> Path:
    return GOLDENS / f"{kind} {name}.npz".replace(", ", " ").replace(" ", "_")
