# SPDX-License-Identifier: Apache-2.0
"""Runs a tracker over every frame of a source, for `sam2-ros track` and direct replay.

Does not know where frames come from or where results go. Never drops a frame; only the live node does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sam2_ros.engine import FrameResult, Prompt, Tracker
from sam2_ros.media.frame_source import Frame, FrameSource, SourceError


@dataclass(frozen=True)
class TrackedFrame:
    """One frame, the tracker's result for it, and the time of `Tracker.step` in ms (monotonic clock)."""

    frame: Frame
    result: FrameResult
    step_ms: float


def track_frames(
    tracker: Tracker, frames: Iterable[Frame], prompts: Mapping[int, Sequence[Prompt]]
) -> Iterator[TrackedFrame]:
    """Step the tracker over the frames; `prompts`, by frame index, are passed with their frame.

    Raises SourceError if a frame with prompts is missing, PromptError if a prompt does not fit its frame.
    """
    waiting = dict(prompts)
    count, first_ns = 0, 0
    for frame in frames:
        if count == 0:
            first_ns = frame.stamp_ns
        given = waiting.pop(frame.index, ())
        start_s = time.perf_counter()
        # Seconds from the first frame: a float cannot hold a bag's nanoseconds since 1970 to the microsecond.
        result = tracker.step(frame.image, given, stamp_s=(frame.stamp_ns - first_ns) * 1e-9)
        count += 1
        yield TrackedFrame(frame, result, (time.perf_counter() - start_s) * 1e3)
    if waiting:
        ids = sorted({prompt.id for given in waiting.values() for prompt in given})
        raise SourceError(
            f"prompts for {ids} were made on frame {sorted(waiting)}, which is damaged or past the end: "
            f"{count} frames were read, choose one of them"
        )


def first_prompts(prompts: Mapping[int, Sequence[Prompt]]) -> dict[str, int]:
    """Map each object to the frame of its first prompt, in the order in which the objects are prompted."""
    first: dict[str, int] = {}
    for index in sorted(prompts):
        for prompt in prompts[index]:
            first.setdefault(prompt.id, index)
    return first


def check_prompts(source: FrameSource, prompts: Mapping[int, Sequence[Prompt]]) -> tuple[int, int]:
    """Check every prompt against the first frame, before any slow work.

    Returns the (height, width) of the first frame in pixels. Raises SourceError or PromptError.
    """
    if not prompts:
        raise SourceError(
            "no prompt given, at least one expected: give a box, points or a mask of what to track"
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
