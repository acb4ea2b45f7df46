# SPDX-License-Identifier: Apache-2.0
"""The tracker's settings, and the differences between the official predictors' numerics and ours.

Frozen numbers, validated once; does not know how they are used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .policies import MEMORY_POLICIES, OFFICIAL, VISIBLE
from .preprocess import RESIZE_MODES
from .result import MAX_LABEL


@dataclass(frozen=True)
class Numerics:
    """Choices that change masks.

    Attributes:
        corrections_use_memory: a prompt for a live object is decoded from features with memory and refines its
            current mask; otherwise every prompted frame starts without memory, as a frame that the official
            video predictor has not tracked yet.
        stability_fallback: replace an unstable single mask by the best of three (dynamic multimask).
        binarize_prompted: memories of prompted frames are made from the thresholded mask.
        fill_hole_area, corrections_are_conditioning: see `TrackerConfig`.
    """

    corrections_use_memory: bool
    corrections_are_conditioning: bool
    stability_fallback: bool
    binarize_prompted: bool
    fill_hole_area: int


_OFFICIAL = Numerics(
    corrections_use_memory=False,
    corrections_are_conditioning=False,
    stability_fallback=True,
    binarize_prompted=True,
    fill_hole_area=0,
)
NUMERICS = {
    "stream": replace(_OFFICIAL, corrections_use_memory=True, corrections_are_conditioning=True),
    "official_image": _OFFICIAL,
    "official_video": replace(_OFFICIAL, fill_hole_area=8),
    "official_vos": replace(_OFFICIAL, stability_fallback=False, binarize_prompted=False),
}


@dataclass(frozen=True)
class TrackerConfig:
    """How a `Tracker` works.

    Attributes:
        max_objects: objects held at once; memory for all of them is allocated at the start.
        memory_frames: one conditioning frame and `memory_frames` - 1 recent frames, 1..7.
        max_conditioning_frames: prompted frames kept per object; the first is always among them.
        memory_policy: "official" or "visible", see `policies.admits_recent`; empty: "visible" with the numerics
            "stream", "official" with the official ones.
        numerics: "stream", "official_image", "official_video" or "official_vos", see `NUMERICS`. With
            "official_image" a prompted frame is answered as by the image predictor. The official predictors use every
            conditioning frame: make `max_conditioning_frames` as large as the number of prompted frames.
        corrections_are_conditioning: a frame on which a tracked object is corrected becomes a conditioning frame
            (official `add_all_frames_to_correct_as_cond`); with False, the official default, the corrected mask is
            remembered as long as any recent frame. None = as the numerics say: True with "stream", else False, where
            it concerns `Tracker.refine` alone, since a prompt given with its frame starts without memory.
        clip_frames: length of the clip, which the official predictors know and a stream does not: they divide
            distances to object pointers by min(clip_frames, 16) - 1. 0 = 16 or more.
        memory_pooling: 1 or 2; 2 keeps the means of 2 x 2 cells of every spatial memory, a quarter of the tokens that
            memory attention looks at and of the bytes. Pointers stay whole. **Not exact**: the official models were not
            trained for it. 1 = exact.
        memory_every: of tracked frames, spatial memories are made of those only whose number it divides, at most
            `memory_frames` - 1; pointers of all. The bank then looks as far back as before and finds fewer memories
            there, each at its true age. **Not exact**. 1 = exact.
        resize: "image", "video" or "fast", see `preprocess`.
        fill_hole_area: holes of up to so many low-resolution cells are filled, see `postprocess.fill_holes`; 0 = none;
            -1 = as the numerics say. (The official code fills them where its CUDA extension is installed.)
        non_overlap: where masks overlap, the object with the highest logit has the pixel.
        present_on: object score logit above which an object that was hidden is seen again.
        present_off: object score logit below which a visible object is hidden.
        hysteresis_frames: frames in a row that either needs.
        lost_after_s: seconds without being visible until LOST.
        forget_after_s: seconds without being visible until it is dropped; 0 = never.
    """

    max_objects: int = 8
    memory_frames: int = 7
    max_conditioning_frames: int = 4
    memory_policy: str = ""
    numerics: str = "stream"
    corrections_are_conditioning: bool | None = None
    clip_frames: int = 0
    memory_pooling: int = 1
    memory_every: int = 1
    resize: str = "image"
    fill_hole_area: int = -1
    non_overlap: bool = False
    present_on: float = 1.0
    present_off: float = 0.0
    hysteresis_frames: int = 2
    lost_after_s: float = 1.0
    forget_after_s: float = 30.0

    def __post_init__(self) -> None:
        _check("max_objects", self.max_objects, 1 <= self.max_objects <= MAX_LABEL, f"1..{MAX_LABEL}")
        _check("memory_frames", self.memory_frames, 1 <= self.memory_frames <= 7, "1..7")
        prompted = self.max_conditioning_frames
        _check("max_conditioning_frames", prompted, prompted >= 1, ">= 1")
        _check("numerics", self.numerics, self.numerics in NUMERICS, f"one of {', '.join(NUMERICS)}")
        if self.corrections_are_conditioning is None:
            by_numerics = NUMERICS[self.numerics].corrections_are_conditioning
            object.__setattr__(self, "corrections_are_conditioning", by_numerics)
        if not self.memory_policy:
            object.__setattr__(self, "memory_policy", VISIBLE if self.numerics == "stream" else OFFICIAL)
        known = self.memory_policy in MEMORY_POLICIES
        _check("memory_policy", self.memory_policy, known, f"one of {', '.join(MEMORY_POLICIES)}")
        _check("clip_frames", self.clip_frames, self.clip_frames >= 0, ">= 0 (0 = 16 or more)")
        _check("memory_pooling", self.memory_pooling, self.memory_pooling in (1, 2), "1 (exact) or 2")
        most = max(1, self.memory_frames - 1)
        expected = f"1 (exact)..{most}, one less than memory_frames"
        _check("memory_every", self.memory_every, 1 <= self.memory_every <= most, expected)
        _check("resize", self.resize, self.resize in RESIZE_MODES, f"one of {', '.join(RESIZE_MODES)}")
        if self.fill_hole_area == -1:
            object.__setattr__(self, "fill_hole_area", NUMERICS[self.numerics].fill_hole_area)
        _check("fill_hole_area", self.fill_hole_area, self.fill_hole_area >= 0, ">= 0 (-1 = by numerics)")
        below = self.present_off <= self.present_on
        _check("present_off", self.present_off, below, f"<= present_on {self.present_on}")
        _check("hysteresis_frames", self.hysteresis_frames, self.hysteresis_frames >= 1, ">= 1")
        _check("lost_after_s", self.lost_after_s, self.lost_after_s >= 0, ">= 0")
        _check("forget_after_s", self.forget_after_s, self.forget_after_s >= 0, ">= 0 (0 = never)")


def _check(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise ValueError(f"{name} = {value!r}: expected {expected}")


IMAGE_MODE = TrackerConfig(max_objects=1, memory_frames=1, max_conditioning_frames=1)
"""What a model is opened and warmed up for when no stream follows: as little memory as there can be."""
