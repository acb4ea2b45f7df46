# SPDX-License-Identifier: Apache-2.0
"""Runs a tracker over every frame of a source: what `sam2-ros track` and a direct replay do.

Does not know where frames come from or where results go, and never drops a frame: a robot's node does that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sam2_ros.engine import FrameResult, Prompt, Tracker
from sam2_ros.media.frame_source import Frame, FrameSource, SourceError


@dataclass(frozen=True)
class TrackedFrame:
    """One frame, what the tracker said about it, and how long that took on the steady clock."""

    frame: Frame
    result: FrameResult
    step_ms: float


def track_frames(
    tracker: Tracker, frames: Iterable[Frame], prompts: Mapping[int, Sequence[Prompt]]
) -> Iterator[TrackedFrame]:
    """Step the tracker over the frames; `prompts` are keyed by frame index and given at that frame.

    Raises SourceError when a frame that has prompts never came, PromptError when a prompt does not fit.
    """
    waiting = dict(prompts)
    count, first_ns = 0, 0
    for frame in frames:
        if count == 0:
            first_ns = frame.stamp_ns
        given = waiting.pop(frame.index, ())
        start_s = time.perf_counter()
        # Seconds from the first frame: a bag's nanoseconds since 1970 do not fit a float to the microsecond.
        result = tracker.step(frame.image, given, stamp_s=(frame.stamp_ns - first_ns) * 1e-9)
        count += 1
        yield TrackedFrame(frame, result, (time.perf_counter() - start_s) * 1e3)
    if waiting:
        ids = sorted({prompt.id for given in waiting.values() for prompt in given})
        raise SourceError(
            f"prompts for {ids} were made on frame {sorted(waiting)}, which is damaged or past the end: "
            f"{count} frames came, choose one of them"
        )


def first_prompts(prompts: Mapping[int, Sequence[Prompt]]) -> dict[str, int]:
    """Object -> the frame of its first prompt, in the order the objects are prompted."""
    first: dict[str, int] = {}
    for index in sorted(prompts):
        for prompt in prompts[index]:
            first.setdefault(prompt.id, index)
    return first


def check_prompts(source: FrameSource, prompts: Mapping[int, Sequence[Prompt]]) -> tuple[int, int]:
    """Look at the first frame and check every prompt against it, before anything slow is done.

    Returns the (height, width) of the first frame. Raises SourceError or PromptError.
    """
    if not prompts:
        raise SourceError(
            "no prompt given, at least one expected: say what to track with a box, points or a mask"
        )
    last = max(prompts)
    if source.length is not None and not source.reaches(last):
        ids = sorted({prompt.id for prompt in prompts[last]})
        raise SourceError(
            f"prompts for {ids} were made on frame {last} but {source.name} has {source.length} frames: "
            f"use a frame from 0 to {source.length - 1}"
        )
    first = next(iter(source), None)
    if first is None:
        raise SourceError(
            f"{source.name} holds no frame: give a video, a folder of images or a bag with images"
        )
    height_px, width_px = first.image.shape[:2]
    for given in prompts.values():
        for prompt in given:
            prompt.validated(height_px, width_px)
    return height_px, width_px
