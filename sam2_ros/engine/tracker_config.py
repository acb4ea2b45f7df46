# SPDX-License-Identifier: Apache-2.0
"""Settings of the tracker, and the numerical differences between the official predictors and the stream mode.

Frozen values, validated once. Does not know how they are used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .policies.names import DEFAULT, NO_POLICY, check_entries
from .policies.visible import MEMORY_POLICIES, OFFICIAL, VISIBLE
from .preprocess import RESIZE_MODES
from .result import MAX_LABEL


@dataclass(frozen=True)
class Numerics:
    """Choices in which the official predictors differ, and which change masks.

    Attributes:
        corrections_use_memory: True: a prompt for a tracked object is decoded with memory and refines its current mask.
            False: every prompted frame is decoded without memory, like a frame that the official video predictor has
            not tracked yet.
        corrections_are_conditioning: see `TrackerConfig`.
        stability_fallback: replace an unstable single mask by the best of three (official dynamic multimask).
        binarize_prompted: make the memory of a prompted frame from the thresholded mask, not from its sigmoid.
        fill_hole_area: see `TrackerConfig`.
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
    """Settings of a `Tracker`. The defaults are for a live stream.

    Attributes:
        max_objects: objects tracked at once, 1..65534; memory for all of them is allocated at the start.
        memory_frames: frames of spatial memory per object, 1..7: one conditioning frame and `memory_frames` - 1 recent
            ones; fewer for a model that was trained with fewer (`ModelConfig.recent_memories`).
        max_conditioning_frames: prompted frames kept per object, at least 1. With 2 or more the first one is always
            kept, and of the others the newest.
        memory_policy: which tracked frames become memories: "official" = all, "visible" = those that show the object,
            see `policies.visible.admits_recent`. Empty = "visible" with numerics "stream", else "official".
        policies: names of tracking policies, see `policies.names`: NAME for all objects, or ID:NAME for one, which then
            has no others. "official": none, as in SAM 2; "default": those that are on by default. Empty = "default"
            with numerics "stream", else "official".
        numerics: which implementation's numbers are computed: "stream", or exactly those of an official predictor:
            "official_image", "official_video" or "official_vos", see `NUMERICS`. With "official_image" a prompted frame
            gets the mask of the image predictor. The official predictors use every conditioning frame: make
            `max_conditioning_frames` as large as the number of prompted frames.
        corrections_are_conditioning: True: a frame on which a tracked object is corrected becomes a conditioning frame
            (official `add_all_frames_to_correct_as_cond`). False, the official default: the corrected mask is kept as
            long as any recent frame. None = True with numerics "stream", else False. With the official numerics it
            concerns `Tracker.refine` alone, since a prompt given to `Tracker.step` is decoded without memory.
        clip_frames: length of the clip, which the official predictors know and a stream does not: they divide
            distances to object pointers by min(clip_frames, 16) - 1. 0 = 16 or more.
        memory_pooling: 1 = exact. 2 keeps the means of 2 x 2 cells of every spatial memory: a quarter of its bytes,
            and of the tokens that memory attention reads. Pointers are not pooled. **Not exact**: the official models
            were not trained for it.
        memory_every: 1 = exact. n: of tracked frames only every n-th, whose index n divides, gets a spatial memory; at
            most `memory_frames` - 1. All frames get object pointers. The bank reaches as far back as before, with fewer
            memories, each at its true age. **Not exact**.
        resize: "image", "video" or "fast", see `preprocess.preprocess`.
        fill_hole_area: fill holes of up to this many cells of the low-resolution mask, see `postprocess.fill_holes`.
            0 = none; -1 = 8 with numerics "official_video", else 0. (The official code fills holes where its CUDA
            extension is installed.)
        non_overlap: where masks overlap, only the object with the highest logit keeps the pixel.
        present_on: object score logit above which a hidden object counts as visible again.
        present_off: object score logit below which a visible object counts as hidden; at most `present_on`.
        hysteresis_frames: consecutive frames that either change of state needs, at least 1.
        lost_after_s: seconds without being visible until an object is LOST.
        forget_after_s: seconds without being visible until an object is forgotten; 0 = never.

    Raises:
        ValueError: a value is out of its range. The message names the setting, the value and the range.
    """

    max_objects: int = 8
    memory_frames: int = 7
    max_conditioning_frames: int = 4
    memory_policy: str = ""
    policies: tuple[str, ...] = ()
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
        if not self.policies:
            object.__setattr__(self, "policies", (DEFAULT if self.numerics == "stream" else NO_POLICY,))
        check_entries(self.policies)
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

    def pointer_span(self, max_pointers: int) -> int:
        """The distance in frames that the time encoding of object pointers maps to 1."""
        return max(1, min(self.clip_frames or max_pointers, max_pointers) - 1)


def _check(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise ValueError(f"{name} = {value!r}: expected {expected}")


IMAGE_MODE = TrackerConfig(max_objects=1, memory_frames=1, max_conditioning_frames=1)
"""Settings to open and warm up a model for images alone: the least memory."""
