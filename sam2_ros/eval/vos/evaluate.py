"""`sam2-ros eval` on videos: every sequence once through the model, and through simple trackers beside it.

Joins dataset, prompts, trackers, scores and files; does not know how any of them works.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam2_ros.engine import Sam2Model, Tracker
from sam2_ros.engine.numerics import NUMERICS
from sam2_ros.eval.memory_options import MemoryOptions
from sam2_ros.eval.metrics import spread
from sam2_ros.eval.offline import precision_name
from sam2_ros.eval.vos.baselines import BASELINES, Baseline, Box
from sam2_ros.eval.vos.follow import Followed, Follower
from sam2_ros.eval.vos.prompting import CLICKS, KINDS, tight_box
from sam2_ros.eval.vos.results import SequenceWriter
from sam2_ros.eval.vos.scores import (
    ObjectJF,
    SequenceScorer,
    absent_percent,
    disjoint,
    objects_percent,
    percent,
)
from sam2_ros.media.datasets.layouts import open_dataset
from sam2_ros.media.datasets.sequence import FrameTruth, VosSequence
from sam2_ros.media.frame import SourceError
from sam2_ros.media.results import write_json
from sam2_ros.weights import load_model

Progress = Callable[[str, int, int | None], None]


class EvalConfigError(ValueError):
    """An option that cannot be used: one line with what was given, what was expected, the remedy."""


@dataclass(frozen=True)
class EvalConfig:
    """What to evaluate on what.

    Attributes:
        dataset: see `media.datasets`.
        prompt: one of `KINDS`.
        split, sequences: which part of the dataset; empty = all.
        out: folder for predicted masks, overlays and summary.json; None = nothing is written.
        numerics: see `TrackerConfig`.
        image_size: see `weights.load_model`.
        baselines: names of `BASELINES`, each run beside the model.
        memory: what the tracker remembers.
    """

    dataset: Path
    prompt: str
    model: str = "nano"
    device: str = "auto"
    precision: str = "auto"
    split: str = ""
    sequences: tuple[str, ...] = ()
    out: Path | None = None
    numerics: str = "stream"
    baselines: tuple[str, ...] = ()
    image_size: int = 0
    memory: MemoryOptions = field(default_factory=MemoryOptions)

    def __post_init__(self) -> None:
        if self.prompt not in KINDS:
            raise EvalConfigError(f"--prompt {self.prompt} given, one of {', '.join(KINDS)} expected")
        if self.numerics not in NUMERICS:
            raise EvalConfigError(f"--numerics {self.numerics} given, one of {', '.join(NUMERICS)} expected")
        if unknown := sorted(set(self.baselines) - set(BASELINES)):
            raise EvalConfigError(f"--baseline {unknown[0]} given, one of {', '.join(BASELINES)} expected")
        if self.out is not None:
            if self.out.exists() and not self.out.is_dir():
                raise EvalConfigError(f"--out {self.out} is a file, a folder or a new name expected")
            out, dataset = self.out.resolve(), self.dataset.resolve()
            if out.is_relative_to(dataset) or dataset.is_relative_to(out):
                raise EvalConfigError(
                    f"--out {self.out} and the dataset {self.dataset} lie in each other: predicted masks could replace "
                    "true ones; choose another folder"
                )


@dataclass
class _Run:
    """What one method did on one sequence."""

    scorer: SequenceScorer
    steps_ms: list[float] = field(default_factory=list)

    def fps(self) -> float:
        return round(1000 * len(self.steps_ms) / sum(self.steps_ms), 2)


@dataclass
class _Totals:
    """One method over all sequences."""

    sequences: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: list[ObjectJF] = field(default_factory=list)
    steps_ms: list[float] = field(default_factory=list)
    of_objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, list[ObjectJF]] = field(default_factory=dict)

    def add(self, name: str, group: str, run: _Run) -> None:
        objects = run.scorer.objects()
        self.objects += objects
        self.steps_ms += run.steps_ms
        self.sequences[name] = {**percent(objects), "absent": absent_percent(objects), "fps": run.fps()}
        if group:
            self.groups.setdefault(group, []).extend(objects)
        self.of_objects[name] = objects_percent(objects)

    def report(self) -> dict[str, Any]:
        times = spread(self.steps_ms)
        return {
            "sequences": self.sequences,
            **self._of_groups(),
            **percent(self.objects),
            "absent": absent_percent(self.objects),
            "fps": round(1000 * len(self.steps_ms) / sum(self.steps_ms), 2),
            "latency_ms": {"p50": round(times.p50, 2), "p95": round(times.p95, 2)},
        }

    def _of_groups(self) -> dict[str, Any]:
        if not self.groups:
            return {}
        means = {
            name: {**percent(objects), "absent": absent_percent(objects)}
            for name, objects in self.groups.items()
        }
        return {"groups": means}


@dataclass(frozen=True)
class Evaluation:
    """`report` is what `--json` prints; `details` has each object of each sequence, by method."""

    report: dict[str, Any]
    details: dict[str, Any]


def run_eval(config: EvalConfig, on_progress: Progress = lambda step, done, total: None) -> Evaluation:
    """Evaluate; raises SourceError, CheckpointError or EvalConfigError, each in one line."""
    sequences = open_dataset(config.dataset, config.split, config.sequences)
    if all(len(sequence.truth.indices) < 3 for sequence in sequences):
        raise SourceError(
            f"'{config.dataset}' has no sequence with three annotated frames, of which the first and the last do not "
            "count: expected a split whose truth is published, such as train"
        )
    on_progress("loading the model", 0, None)
    model = load_model(
        config.model, device=config.device, precision=config.precision, image_size=config.image_size
    )
    _warm_up(model, sequences[0])
    if config.out is not None:
        (config.out / "summary.json").unlink(missing_ok=True)  # where it is, the rest is complete
    totals = {name: _Totals() for name in ("model", *config.baselines)}
    prompted: dict[str, dict[str, int]] = {}
    for number, sequence in enumerate(sequences):
        step = f"{sequence.name} ({number + 1} of {len(sequences)})"
        on_progress(step, 0, len(sequence))
        runs, frames = _evaluate(model, sequence, config, lambda done, total, step=step: on_progress(step, done, total))  # type: ignore[misc]  # fmt: skip
        prompted[sequence.name] = frames
        for name, run in runs.items():
            totals[name].add(sequence.name, sequence.group, run)
    if not totals["model"].objects:
        raise SourceError(f"no object of '{config.dataset}' shows before the last annotated frames")
    reports = {name: total.report() for name, total in totals.items()}
    report = {"model": model.config.name, "prompt": config.prompt, **reports.pop("model")}
    if reports:
        report["baselines"] = reports
    details = {
        "dataset": str(config.dataset),
        "split": config.split,
        "device": str(model.device),
        "precision": precision_name(model),
        "image_size": model.config.image_size,
        "numerics": config.numerics,
        "memory": config.memory.as_dict(),
        "prompted_frames": prompted,
        "objects": {name: total.of_objects for name, total in totals.items()},
    }
    if config.out is not None:
        write_json(config.out / "summary.json", report | details)
    return Evaluation(report, details)


def _evaluate(
    model: Sam2Model, sequence: VosSequence, config: EvalConfig, on_frame: Callable[[int, int], None]
) -> tuple[dict[str, _Run], dict[str, int]]:
    """Every frame through the model and the baselines; also the number of prompted frames of each object."""
    if not sequence.first_frames:
        raise SourceError(f"sequence '{sequence.name}' shows no object in any annotated frame")
    follower = Follower(model, sequence, config.prompt, config.numerics, config.memory)
    methods: dict[str, Baseline] = {name: BASELINES[name]() for name in config.baselines}
    runs = {name: _Run(SequenceScorer(sequence)) for name in ("model", *methods)}
    start = min(sequence.first_frames.values())
    writer = SequenceWriter(config.out, sequence) if config.out is not None else None
    with writer or nullcontext():
        for index in range(len(sequence)):
            image = sequence.image(index)
            followed, masks = None, {}
            if index >= start:
                truth = sequence.annotated(index, image)
                new = [name for name, first in sequence.first_frames.items() if first == index]
                followed = follower.step(index, image, new, truth)
                masks = _as_scored(sequence, followed.masks())
                _score(runs["model"], index, masks, truth, followed.step_ms)
                starts = {name: _start(config.prompt, name, followed, truth) for name in new}
                for name, method in methods.items():
                    answer, step_ms = _follow(method, image, starts)
                    _score(runs[name], index, _as_scored(sequence, answer), truth, step_ms)
            if writer is not None:
                writer.add(index, image, followed.result if followed else None, masks)
            on_frame(index + 1, len(sequence))
    return runs, dict(follower.prompted_frames)


def _score(
    run: _Run, index: int, masks: dict[str, np.ndarray], truth: FrameTruth | None, step_ms: float
) -> None:
    run.steps_ms.append(step_ms)
    if truth is not None:
        run.scorer.add(index, masks, truth)


def _start(
    prompt: str, name: str, followed: Followed, truth: FrameTruth | None
) -> tuple[np.ndarray, Box | None]:
    """Mask and box a baseline starts from: as prompted, else the model's own answer on the prompted frame."""
    answer = followed.masks()[name]
    if prompt in CLICKS or truth is None:
        return answer, tight_box(answer) if answer.any() else None
    known = truth.mask(name)
    return known if prompt == "mask" else answer, tight_box(known)


def _follow(
    method: Baseline, image_hw3: np.ndarray, starts: Mapping[str, tuple[np.ndarray, Box | None]]
) -> tuple[dict[str, np.ndarray], float]:
    """A baseline's masks of the objects it has, new ones as they start, and the milliseconds it took."""
    start_s = time.perf_counter()
    masks = method.follow(image_hw3)
    for name, (mask, box) in starts.items():
        method.start(name, image_hw3, mask, box)
        masks[name] = mask
    return masks, (time.perf_counter() - start_s) * 1e3


def _as_scored(sequence: VosSequence, masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Where the truth is a label image, a pixel has one owner in the answer, too."""
    return masks if sequence.overlapping else disjoint(masks)


def _warm_up(model: Sam2Model, sequence: VosSequence) -> None:
    """The first frame through a model takes longer; it is not what is asked for."""
    Tracker(model).step(sequence.image(0))
