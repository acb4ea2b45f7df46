# SPDX-License-Identifier: Apache-2.0
"""Times one tracker over a stream (frames, stages, launches, memory growth), or several in turns.

Knows the tracker's interface only; does not know how long its arithmetic should take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam2_ros.engine import Prompt, TrackedObject, Tracker
from sam2_ros.eval.metrics import growth_per_step, spread

from .against.reference import Box, SteppedTracker, TrackerOutput
from .launches import count_launches
from .machine import memory_in_use_bytes


@dataclass(frozen=True)
class Stream:
    """Images, a box for every object on the first image, and the number of images before timing starts."""

    images: Sequence[np.ndarray]
    boxes: Sequence[Box]
    warm_up: int

    def __len__(self) -> int:
        return len(self.images)

    def of(self, objects: int) -> Stream:
        """The same images with the first `objects` objects."""
        return Stream(self.images, self.boxes[:objects], self.warm_up)

    def prompts(self) -> list[Prompt]:
        return [Prompt(id=f"object_{n + 1}", box=box) for n, box in enumerate(self.boxes)]


@dataclass(frozen=True)
class StreamTimes:
    """Times and memory of one run. `growth_bytes`: memory growth per frame."""

    report: dict[str, Any]
    p50_ms: float
    growth_bytes: float
    memory_bytes: int


def time_stream(
    tracker: Tracker, stream: Stream, conditioning: int, on_frame: Callable[[], None], launches: bool
) -> StreamTimes:
    """Frame and stage times after the warm-up, launches of one further frame, memory and its growth.

    Args:
        conditioning: number of first frames that are prompted, all with the boxes of the first one: times do not
            depend on positions.
        launches: also count launches.

    Raises RuntimeError if the memory bank changes its size.
    """
    device = tracker.model.device
    frame_ms = np.full(len(stream), np.nan)  # allocated and written before timing, so that it adds no growth
    memory = np.full(len(stream) - stream.warm_up, np.nan)
    stages: dict[str, np.ndarray] = {}
    bank_bytes = tracker.bank_bytes
    for index, image in enumerate(stream.images):
        start_s = time.perf_counter()
        # Masks are returned as numpy arrays: the device has finished when `step` returns.
        result = tracker.step(image, stream.prompts() if index < conditioning else ())
        frame_ms[index] = (time.perf_counter() - start_s) * 1e3
        if tracker.bank_bytes != bank_bytes:
            raise RuntimeError(
                f"frame {index}: the memory bank has {tracker.bank_bytes} bytes, {bank_bytes} expected as at the start"
            )
        on_frame()
        for stage, duration_ms in result.timings_ms.items():
            stages.setdefault(stage, np.full(len(stream), np.nan))[index] = duration_ms
        if index >= stream.warm_up:
            memory[index - stream.warm_up] = memory_in_use_bytes(device)
    times = spread(frame_ms[stream.warm_up :])
    report = {
        "frame_ms": times.as_dict(),
        "first_frame_ms": round(float(frame_ms[0]), 2),
        "stages_ms": {  # in the order of execution
            stage: round(float(np.median(stages[stage][stream.warm_up :])), 2) for stage in result.timings_ms
        },
        "fps": round(1e3 / times.mean, 2),
        "bank_bytes_per_object": bank_bytes // len(stream.boxes),
    }
    if launches:
        count, counted = count_launches(lambda: tracker.step(stream.images[-1]), device)
        report["launches"] = {counted: count}
    return StreamTimes(report, times.p50, growth_per_step(list(memory)), int(memory.max()))


class OwnTracker:
    """Our tracker as a `SteppedTracker`, with the boxes of the stream.

    Attributes:
        timings_ms: `FrameResult.timings_ms` of each frame so far.
    """

    def __init__(self, tracker: Tracker, stream: Stream) -> None:
        self._tracker, self._images, self._prompts = tracker, iter(stream.images), stream.prompts()
        self._objects: list[TrackedObject] = []
        self.timings_ms: list[dict[str, float]] = []

    def step(self) -> None:
        result = self._tracker.step(next(self._images), self._prompts)
        self._prompts = []
        self._objects = result.objects
        self.timings_ms.append(result.timings_ms)

    def logits(self) -> np.ndarray:
        return np.stack([obj.logits for obj in self._objects])


def time_in_turns(
    trackers: Sequence[SteppedTracker], frames: int, on_frame: Callable[[], None]
) -> list[TrackerOutput]:
    """Steps several trackers in turns, one frame each, so that a slower machine affects all equally.

    Returns the times and logits of each tracker on all frames.
    """
    outputs = [TrackerOutput() for _ in trackers]
    for _ in range(frames):
        for tracker, seen in zip(trackers, outputs, strict=True):
            start_s = time.perf_counter()
            tracker.step()
            seen.frame_ms.append((time.perf_counter() - start_s) * 1e3)
            seen.logits.append(tracker.logits())
        on_frame()
    return outputs
