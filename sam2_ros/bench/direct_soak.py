# SPDX-License-Identifier: Apache-2.0
"""Endurance test of the tracker alone: thousands of frames with objects added and removed; judges resident memory.

Knows the tracker and this process; does not know ROS. `soak.py` tests the live node.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam2_ros.atomic_write import write_json
from sam2_ros.engine import FrameResult, Prompt, Tracker, TrackerConfig
from sam2_ros.engine.warm_up import warm_up
from sam2_ros.eval.metrics import spread
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.synthetic.clip import ClipConfig, to_and_fro
from sam2_ros.synthetic.render import render_clip
from sam2_ros.weights.open_model import ModelOptions, open_model

from . import churn
from .process_watch import read_footprint

READINGS = "soak.jsonl"
GROWTH_LIMIT = 1.02  # highest memory of the last half / memory before it, see `judge_memory`
JUDGED_FROM_FRAMES = 2000  # in a shorter run, libraries still allocate memory that they keep
READING_PERIOD_FRAMES = 20
RATE_HZ = 30.0
FORGET_AFTER_S = 1.0  # short, so that the run also tests how hidden objects are forgotten
TRACKED_THINGS, CLIP_FRAMES, CLIP_SEED = 3, 90, 0


@dataclass(frozen=True)
class DirectSoakConfig:
    """Settings of the test."""

    out: Path
    frames: int = 10_000
    width_px: int = 640
    height_px: int = 480
    model_options: ModelOptions = field(default_factory=ModelOptions)
    policies: tuple[str, ...] = ()  # see `TrackerConfig`
    objects: int = 4  # most at once
    seed: int = 0
    overwrite: bool = False  # see `ResultFolder`

    def __post_init__(self) -> None:
        if self.frames < 1 or self.objects < 1:
            raise ValueError(
                f"{self.frames} frames, {self.objects} objects given, at least 1 of each expected"
            )


@dataclass(frozen=True)
class MemoryReading:
    """State of this process after a frame. MB are 10^6 bytes; `step_ms` is the median since the previous reading."""

    frame: int
    resident_mb: float
    anonymous_mb: float
    objects: int
    step_ms: float


def run_direct_soak(
    config: DirectSoakConfig, on_progress: Callable[[str, int, int], None] = lambda step, done, total: None
) -> dict[str, Any]:
    """Runs the test; writes soak.jsonl (a reading every 20 frames), soak.png and soak.json to `config.out`.

    Returns the content of soak.json; its `failures` are empty if the test passed. A run that ends early writes nothing.
    Raises UserError, also on a system that does not report shared memory.
    """
    read_footprint(os.getpid())  # raises now, not after minutes of work
    names = (READINGS, "soak.png", "soak.json")
    folder = ResultFolder(config.out, "soak", names, overwrite=config.overwrite)
    settings = TrackerConfig(
        max_objects=config.objects, forget_after_s=FORGET_AFTER_S, policies=config.policies
    )
    model = open_model(config.model_options, settings)
    warm_up(model, settings)
    with folder:
        return _run(config, Tracker(model, settings), folder, on_progress)


def _run(
    config: DirectSoakConfig,
    tracker: Tracker,
    folder: ResultFolder,
    on_progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    on_progress("rendering the clip", 0, config.frames)
    clip = render_clip(
        CLIP_SEED, ClipConfig(config.height_px, config.width_px, CLIP_FRAMES, objects=TRACKED_THINGS)
    )
    model, user = tracker.model, _RandomUser(tracker, config)
    bank_bytes, readings, steps_ms = tracker.bank_bytes, list[MemoryReading](), list[float]()
    with folder.stage(READINGS).open("w", encoding="utf-8") as lines:
        for index in range(config.frames):
            shown = to_and_fro(index, CLIP_FRAMES)
            prompts, afterwards = user.act(index, clip.masks[shown])
            begin_s = time.perf_counter()
            result = tracker.step(clip.frames[shown], prompts, stamp_s=index / RATE_HZ)
            steps_ms.append(1e3 * (time.perf_counter() - begin_s))
            user.check(result)
            if afterwards:
                user.check(result := tracker.refine(afterwards))
            if (index + 1) % READING_PERIOD_FRAMES == 0 or index + 1 == config.frames:
                readings.append(_reading(index + 1, len(result.objects), steps_ms[-READING_PERIOD_FRAMES:]))
                lines.write(json.dumps(asdict(readings[-1])) + "\n")
                lines.flush()
                on_progress("tracking", index + 1, config.frames)
    memory = judge_memory(readings)
    wrong = [*memory_failures(memory), *user.failures()]
    if tracker.bank_bytes != bank_bytes:
        wrong.append(f"the memory bank grew from {bank_bytes} to {tracker.bank_bytes} bytes")
    report = {
        "frames": config.frames,
        "size": f"{config.width_px}x{config.height_px}",
        "model": config.model_options.model,
        "image_size": model.config.image_size,
        "device": str(model.device),
        "objects": config.objects,
        "seed": config.seed,
        "changes": dict(user.counts),
        "prompts": dict(user.kinds),
        "memory_judged": memory["judged"],
        "judged_from_frame": memory["from_frame"],
        "memory_mb": memory["resident_mb"],
        "memory_anonymous_mb": memory["anonymous_mb"],
        "bank_mb": round(bank_bytes / 1e6, 3),
        "step_ms": spread(steps_ms).as_dict(),
        "failures": wrong,
    }
    draw_memory(folder.stage("soak.png"), readings)
    write_json(folder.stage("soak.json"), report, indent=2)
    return report


class _RandomUser:
    """Applies the changes of `Churn` to the tracker, counts them, and checks the results against them."""

    def __init__(self, tracker: Tracker, config: DirectSoakConfig) -> None:
        self._tracker = tracker
        self._churn = churn.Churn(config.seed, config.objects)
        self._prompted_on: dict[str, list[int]] = {}
        self._label_of: dict[str, int] = {}
        self._wrong: list[str] = []
        self.counts: Counter[str] = Counter()

    @property
    def kinds(self) -> Counter[str]:
        return self._churn.kinds

    def act(self, index: int, masks_nhw: np.ndarray) -> tuple[Sequence[Prompt], Sequence[Prompt]]:
        """The prompts for frame `index`, and those to refine it with after it was tracked. Removes objects here."""
        change = self._churn.next(self._tracker.object_ids, masks_nhw)
        if change is None:
            return (), ()
        self.counts[change.action] += 1
        if change.action == churn.RESET:
            self._tracker.reset()
        elif change.action == churn.REMOVE:
            self._tracker.remove(change.ids[0])
        elif change.action == churn.TAKE_BACK:
            # One of the object's prompted frames; if the frame has left the bank, the call has no effect.
            frames = self._prompted_on[change.ids[0]]
            self._tracker.take_back(change.ids[0], frames[index % len(frames)])
        for prompt in change.prompts:
            self.counts["of them replacing"] += prompt.replace
            frames = [] if prompt.replace else self._prompted_on.get(prompt.id, [])
            self._prompted_on[prompt.id] = [*frames[-7:], index]
        if change.action == churn.REFINE and index % 2:
            self.counts["of them after the frame"] += 1
            return (), change.prompts
        return change.prompts, ()

    def check(self, result: FrameResult) -> None:
        """Checks that the result contains exactly the live objects, and that no label is used for two objects."""
        self.counts["refused"] += len(result.rejected)
        self.counts["forgotten"] += len(result.forgotten)
        shown = [obj.id for obj in result.objects]
        if sorted(shown) != sorted(self._tracker.object_ids):
            self._wrong.append(
                f"the result of frame {result.frame_index} has {shown}, the tracker has {self._tracker.object_ids}"
            )
        for obj in result.objects:
            newest = max(self._label_of.values(), default=0)
            if obj.id not in self._label_of and obj.label <= newest:
                self._wrong.append(f"'{obj.id}' has label {obj.label}, which was used before")
            if self._label_of.setdefault(obj.id, obj.label) != obj.label:
                self._wrong.append(
                    f"the label of '{obj.id}' changed from {self._label_of[obj.id]} to {obj.label}"
                )
        # Ids are never used again: removed ones are dropped, so that this test itself does not grow.
        live = set(self._tracker.object_ids)
        self._prompted_on = {id: frames for id, frames in self._prompted_on.items() if id in live}
        newest_id = max(self._label_of, key=lambda id: self._label_of[id], default="")
        self._label_of = {id: label for id, label in self._label_of.items() if id in live or id == newest_id}

    def failures(self) -> list[str]:
        """The first three errors, and the number of further ones."""
        more = [f"and {len(self._wrong) - 3} more like these"] if len(self._wrong) > 3 else []
        return self._wrong[:3] + more


def judge_memory(readings: Sequence[MemoryReading]) -> dict[str, Any]:
    """Growth of memory in the last half of the frames: `{"judged", "from_frame", "resident_mb", "anonymous_mb"}`.

    Anonymous memory is compared with its value at the start of the half. Resident memory is compared with its highest
    value until then, because the kernel removes pages of mapped files when other processes need memory, and loads them
    again. Each entry is `{"before", "highest", "end", "ratio"}`, with ratio = highest / before; empty if the run is too
    short to be judged.
    """
    frames = readings[-1].frame if readings else 0
    if frames < JUDGED_FROM_FRAMES:
        return {"judged": False, "from_frame": 0, "resident_mb": {}, "anonymous_mb": {}}
    half = [reading for reading in readings if reading.frame >= frames / 2]
    until = [reading for reading in readings if reading.frame <= half[0].frame]
    return {
        "judged": True,
        "from_frame": half[0].frame,
        "resident_mb": _growth(max(r.resident_mb for r in until), [r.resident_mb for r in half]),
        "anonymous_mb": _growth(half[0].anonymous_mb, [r.anonymous_mb for r in half]),
    }


def _growth(before: float, values: Sequence[float]) -> dict[str, float]:
    highest = max(values)
    return {"before": before, "highest": highest, "end": values[-1], "ratio": round(highest / before, 4)}


def memory_failures(judged: dict[str, Any]) -> list[str]:
    """One line for each kind of memory that grew, with the numbers."""
    lines = []
    for name in ("resident", "anonymous") if judged["judged"] else ():
        memory = judged[f"{name}_mb"]
        if memory["ratio"] > GROWTH_LIMIT:
            lines.append(
                f"{name} memory grew from {memory['before']} MB until frame {judged['from_frame']} to "
                f"{memory['highest']} MB, at most {100 * (GROWTH_LIMIT - 1):.0f} % expected"
            )
    return lines


def draw_memory(path: Path, readings: Sequence[MemoryReading]) -> None:
    """Plots memory, objects and step time over the frames as a PNG, one panel below the other."""
    from sam2_ros.eval.report.plots import Line, Panel, write_panels

    frames = [reading.frame for reading in readings]

    def line(name: str, label: str = "", **style: object) -> Line:
        return Line(label, frames, [getattr(reading, name) for reading in readings], style)

    panels = [
        Panel(
            "memory, MB",
            [line("resident_mb", "resident"), line("anonymous_mb", "of it anonymous")],
            shaded=(frames[-1] / 2, frames[-1], "judged"),
        ),
        Panel("objects", [line("objects", drawstyle="steps-post", linewidth=0.7)]),
        Panel("step, ms", [line("step_ms", linewidth=0.9)]),
    ]
    write_panels(path, panels, "frames", (9, 7))


def _reading(frame: int, objects: int, steps_ms: Sequence[float]) -> MemoryReading:
    gc.collect()
    footprint = read_footprint(os.getpid())
    return MemoryReading(
        frame,
        round(footprint.resident_mb, 3),
        round(footprint.anonymous_mb, 3),
        objects,
        round(float(np.median(steps_ms)), 2),
    )
