# SPDX-License-Identifier: Apache-2.0
"""Evaluates one sequence: runs the model and the baselines, writes masks and a video, returns the scores.

Does not know other sequences, nor the process or machine it runs on: see `eval.jobs`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam2_ros.atomic_write import write_json
from sam2_ros.datasets.sequence import FrameTruth, VosSequence
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.engine.warm_up import warm_up
from sam2_ros.errors import UserError
from sam2_ros.eval.jobs.choose_runner import use_threads
from sam2_ros.eval.jobs.job import JobError, disk_error, memory_error
from sam2_ros.media.frame_source import SourceError
from sam2_ros.weights.open_model import open_model

from .baselines import BASELINES, Baseline, Box
from .eval_config import EvalConfig
from .prompted_tracker import AnsweredFrame, PromptedTracker, sequence_tracker_config
from .prompting import CLICKS
from .scores import SequenceScorer, disjoint
from .sequence_writer import SequenceWriter, result_file
from .summary import sequence_means

OnFrame = Callable[[int], None]


@dataclass(frozen=True)
class SequenceTask:
    """A sequence to evaluate, and the fingerprint stored with its result."""

    sequence: VosSequence
    fingerprint: Mapping[str, Any]


@dataclass(frozen=True)
class LoadEvaluator:
    """Creates the evaluator, and opens the model, in the process that uses it.

    `threads`: of PyTorch and OpenCV; 0 = unchanged. `objects`: most objects in one sequence, for a compiled model.
    """

    config: EvalConfig
    threads: int = 0
    objects: int = 1

    def __call__(self) -> SequenceEvaluator:
        use_threads(self.threads)
        return SequenceEvaluator(self.config, self.objects)


class SequenceEvaluator:
    """Evaluates sequences one after the other with one model. Raises CheckpointError."""

    def __init__(self, config: EvalConfig, objects: int = 1) -> None:
        self._config = config
        settings = sequence_tracker_config(config.prompt, config.numerics, config.memory, objects)
        self._model = open_model(config.model_options, settings)
        warm_up(self._model, settings)

    def __call__(self, task: SequenceTask, on_frame: OnFrame) -> dict[str, Any]:
        """Evaluates a sequence and returns its record, also written to `out` as result.json. Raises JobError."""
        out = self._config.out
        try:
            record = self._run(task, on_frame)
            if out is not None:
                write_json(result_file(out, task.sequence.name), record, indent=None)
            return record
        except UserError as error:
            raise JobError(str(error)) from error
        except torch.OutOfMemoryError as error:
            raise memory_error(self._model.device) from error
        except OSError as error:
            raise disk_error(error, Path(f"{out}/{task.sequence.name}")) from error

    def _run(self, task: SequenceTask, on_frame: OnFrame) -> dict[str, Any]:
        sequence, model, config = task.sequence, self._model, self._config
        if not sequence.first_frames:
            raise SourceError(
                f"sequence '{sequence.name}' has no object in any annotated frame: at least 1 expected"
            )
        tracker = PromptedTracker(model, sequence, config.prompt, config.numerics, config.memory)
        writer = SequenceWriter(config.out, sequence) if config.out is not None else None
        with writer or nullcontext():
            methods = _track_all(tracker, sequence, config, writer, on_frame)
        means = {name: method.record() for name, method in methods.items()}
        ours = means.pop("model")
        return {
            "name": sequence.name,
            "group": sequence.group,
            **ours,
            "baselines": means,
            "prompted_frames": dict(tracker.prompted_frames),
            "first_frames": sequence.first_frames,
            "frames": len(sequence),
            "hw": list(sequence.truth.at(sequence.truth.indices[0]).hw),
            **(writer.files() if writer is not None else {}),
            "model": model.config.name,
            "device": str(model.device),
            "precision": model.precision_name,
            "image_size": model.config.image_size,
            "threads": torch.get_num_threads(),
            "fingerprint": dict(task.fingerprint),
        }


@dataclass
class _MethodResult:
    """Scores and times of one method (the model or a baseline) on the sequence."""

    scorer: SequenceScorer
    steps_ms: list[float] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        objects = self.scorer.objects()
        steps_ms = [round(one, 3) for one in self.steps_ms]
        return {
            **sequence_means(objects, steps_ms),
            "objects": {one.name: one.record() for one in objects},
            "steps_ms": steps_ms,
        }


def _track_all(
    tracker: PromptedTracker,
    sequence: VosSequence,
    config: EvalConfig,
    writer: SequenceWriter | None,
    on_frame: OnFrame,
) -> dict[str, _MethodResult]:
    """Runs the model and the baselines over every frame, and scores them."""
    baselines: dict[str, Baseline] = {name: BASELINES[name]() for name in config.baselines}
    methods = {name: _MethodResult(SequenceScorer(sequence)) for name in ("model", *baselines)}
    start = min(sequence.first_frames.values())
    for index in range(len(sequence)):
        image = sequence.image(index)
        answered, masks = None, {}
        if index >= start:
            truth = sequence.annotated(index, image)
            new = [name for name, first in sequence.first_frames.items() if first == index]
            answered = tracker.step(index, image, new, truth)
            masks = _as_scored(sequence, answered.masks())
            methods["model"].steps_ms.append(answered.step_ms)
            if truth is not None:
                methods["model"].scorer.add(index, masks, truth, answered.result.objects)
            starts = {name: _start(config.prompt, name, answered, truth) for name in new}
            for name, baseline in baselines.items():
                answer, step_ms = _track_baseline(baseline, image, starts)
                methods[name].steps_ms.append(step_ms)
                if truth is not None:
                    methods[name].scorer.add(index, _as_scored(sequence, answer), truth)
        if writer is not None:
            writer.add(index, image, answered.result if answered else None, masks)
        on_frame(index + 1)
    return methods


def _start(
    prompt: str, name: str, answered: AnsweredFrame, truth: FrameTruth | None
) -> tuple[np.ndarray, Box | None]:
    """Mask and box that a baseline starts from: the prompt, or for clicks the model's answer on the prompted frame."""
    answer = answered.masks()[name]
    if prompt in CLICKS or truth is None:
        return answer, tight_box(answer) if answer.any() else None
    known = truth.mask(name)
    return known if prompt == "mask" else answer, tight_box(known)


def _track_baseline(
    baseline: Baseline, image_hw3: np.ndarray, starts: Mapping[str, tuple[np.ndarray, Box | None]]
) -> tuple[dict[str, np.ndarray], float]:
    """A baseline's masks of all objects, of new ones their start masks, and the time in milliseconds."""
    start_s = time.perf_counter()
    masks = baseline.track(image_hw3)
    for name, (mask, box) in starts.items():
        baseline.add_object(name, image_hw3, mask, box)
        masks[name] = mask
    return masks, (time.perf_counter() - start_s) * 1e3


def _as_scored(sequence: VosSequence, masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The masks as they are scored: without overlap if the ground truth is a label image."""
    return masks if sequence.overlapping else disjoint(masks)
