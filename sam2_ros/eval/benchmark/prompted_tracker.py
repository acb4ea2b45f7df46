# SPDX-License-Identifier: Apache-2.0
"""Tracks one sequence with prompts simulated from its annotation: a mask, a box, clicks, or online corrections.

Knows the tracker, and the ground truth of the prompted frames; does not know scores or files.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sam2_ros.datasets.sequence import FrameTruth, VosSequence
from sam2_ros.engine import FrameResult, Prompt, Sam2Model, Tracker, TrackerConfig
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.eval.memory_options import MemoryOptions
from sam2_ros.eval.metrics import mask_iou

from .prompting import CLICKS, PROMPT_KINDS, Clicks

PAUSE_BELOW_IOU = 0.75
PAUSE_CLICKS = 3
MAX_PROMPTED_FRAMES = 8
"""Online: most frames on which one object is prompted, the first included (SAM 2 paper, section F.1.1)."""


@dataclass(frozen=True)
class AnsweredFrame:
    """The tracker's answer for one frame.

    Attributes:
        result: the tracker's result after all clicks.
        step_ms: duration of the step that gave this result, frame in to masks out.
        clicked: objects that were prompted on this frame.
    """

    result: FrameResult
    step_ms: float
    clicked: tuple[str, ...]

    def masks(self) -> dict[str, np.ndarray]:
        """``[H, W]`` bool by object."""
        return {obj.id: obj.mask for obj in self.result.objects}


def sequence_tracker_config(kind: str, numerics: str, memory: MemoryOptions, objects: int) -> TrackerConfig:
    """Tracker configuration for sequences of up to `objects` objects, without the fields that depend on a sequence."""
    prompted = MAX_PROMPTED_FRAMES if kind == "online" else 1
    return memory.within(
        TrackerConfig(
            max_objects=objects,
            max_conditioning_frames=4 if numerics == "stream" else prompted,
            numerics=numerics,
            forget_after_s=0.0,
        )
    )


class PromptedTracker:
    """Tracks one sequence from its first prompted frame to its end. Gets every frame, in order."""

    def __init__(
        self,
        model: Sam2Model,
        sequence: VosSequence,
        kind: str,
        numerics: str = "stream",
        memory: MemoryOptions | None = None,
    ) -> None:
        """`kind`: one of `PROMPT_KINDS`; `numerics`: see `TrackerConfig`.

        Raises CheckpointError if the sequence has more objects than an exported model holds.
        """
        if kind not in PROMPT_KINDS:
            raise ValueError(f"prompt '{kind}' given, one of {', '.join(PROMPT_KINDS)} expected")
        self._kind = kind
        self._fps = sequence.fps
        config = sequence_tracker_config(
            kind, numerics, memory or MemoryOptions(), max(1, len(sequence.first_frames))
        )
        config = replace(
            config,
            clip_frames=0 if numerics == "stream" else len(sequence),
            non_overlap=not sequence.overlapping,
        )
        model.check_fits(config)
        self._tracker = Tracker(model, config)
        self._prompted_frames: dict[str, int] = {}

    def step(
        self, index: int, image_hw3: np.ndarray, new: Sequence[str], truth: FrameTruth | None
    ) -> AnsweredFrame:
        """Tracks one frame. Prompts the objects `new`, which first appear in it: its `truth` is then required."""
        known = list(self._prompted_frames)
        for name in new:
            self._prompted_frames[name] = 1
        if self._kind not in CLICKS:
            return self._timed_step(index, image_hw3, [self._prompt(name, truth) for name in new])
        watched = known if self._kind == "online" and truth is not None else []
        if not new and not watched:
            return self._timed_step(index, image_hw3, ())
        assert truth is not None
        return self._click(index, image_hw3, new, watched, truth)

    def _click(
        self, index: int, image_hw3: np.ndarray, new: Sequence[str], watched: Sequence[str], truth: FrameTruth
    ) -> AnsweredFrame:
        """Clicks one by one on the error of the last answer, and tracks the frame again with all clicks so far."""
        before = self._tracker
        clicks: dict[str, Clicks] = {}
        left: dict[str, int] = {}
        for name in new:
            clicks[name] = Clicks()
            clicks[name].add_on_error(np.zeros(truth.hw, bool), truth.mask(name))
            left[name] = CLICKS[self._kind] - 1
        self._tracker = _copy(before)
        answer = self._timed_step(index, image_hw3, [c.prompt(name) for name, c in clicks.items()])
        for name in watched:
            if self._pauses(name, answer, truth):
                clicks[name], left[name] = Clicks(), PAUSE_CLICKS
                self._prompted_frames[name] += 1
        while any(left.values()):
            masks = answer.masks()
            for name in [name for name, count in left.items() if count]:
                added = clicks[name].add_on_error(masks[name], truth.mask(name))
                left[name] = left[name] - 1 if added else 0
            self._tracker = _copy(before)
            prompts = [c.prompt(name) for name, c in clicks.items() if c.points]
            answer = self._timed_step(index, image_hw3, prompts)
        return answer

    def _pauses(self, name: str, answer: AnsweredFrame, truth: FrameTruth) -> bool:
        """True if a simulated operator would correct the object here: visible, IoU below the bound, budget left."""
        if name not in truth.masks or self._prompted_frames[name] >= MAX_PROMPTED_FRAMES:
            return False
        return mask_iou(answer.masks()[name], truth.mask(name)) < PAUSE_BELOW_IOU

    def _prompt(self, name: str, truth: FrameTruth | None) -> Prompt:
        assert truth is not None
        mask = truth.mask(name)
        return Prompt(name, mask=mask) if self._kind == "mask" else Prompt(name, box=tight_box(mask))

    def _timed_step(self, index: int, image_hw3: np.ndarray, prompts: Sequence[Prompt]) -> AnsweredFrame:
        start_s = time.perf_counter()
        result = self._tracker.step(image_hw3, prompts, stamp_s=index / self._fps)
        step_ms = (time.perf_counter() - start_s) * 1e3
        return AnsweredFrame(result, step_ms, tuple(prompt.id for prompt in prompts))

    @property
    def prompted_frames(self) -> Mapping[str, int]:
        """Number of frames on which each object was prompted so far."""
        return self._prompted_frames


def _copy(tracker: Tracker) -> Tracker:
    """A copy of the tracker with its own memory bank; the model is shared."""
    return copy.deepcopy(tracker, {id(tracker.model): tracker.model})
