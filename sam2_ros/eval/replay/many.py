# SPDX-License-Identifier: Apache-2.0
"""Replays a list of bags in this process, in several or on Ray; bags that an earlier run completed are reused.

Does not know how a bag is replayed, nor the command line. Returns the content of the summary.json of the whole list.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from sam2_ros.atomic_write import write_json
from sam2_ros.engine import Sam2Model, TrackerConfig
from sam2_ros.engine.compiled import OFF
from sam2_ros.engine.tracker_config import IMAGE_MODE
from sam2_ros.errors import CheckpointError, UserError
from sam2_ros.eval.jobs.choose_runner import choose_runner, use_threads
from sam2_ros.eval.jobs.job import (
    Event,
    Failed,
    Finished,
    Job,
    JobError,
    JobStatus,
    OnNote,
    OnProgress,
    disk_error,
    memory_error,
    not_written,
)
from sam2_ros.eval.metrics import mean, rounded
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.result_folder.guards import check_inputs
from sam2_ros.result_folder.manifest import FileState
from sam2_ros.result_folder.switch import why_blocked
from sam2_ros.weights.open_model import ModelOptions, open_model

from .fingerprint import reusable_summary
from .replay import replayed_with, run_replay
from .replay_config import NODE, RECORDED, ReplayConfig
from .runs import OpenModel

SCORES = ("J", "F", "JF", "missed", "false_presence")
COUNTS = ("images_in", "processed", "dropped")
MEANS_OVER = (
    "over the objects of all bags with equal weights, whatever the length of a bag; objects without a value are left "
    "out; counts are sums"
)


@dataclass(frozen=True)
class ManyConfig:
    """The bags by name, and where and how they are replayed.

    Attributes:
        bags: name -> settings; the result folder of each is `out`/name.
        failed: name -> reason, for listed bags that cannot be used and are not in `bags`.
        workers: number of processes; 0 = one with a node, whose times are measured, else chosen by `choose_runner`.
        ray: address of a Ray cluster, or `local`; empty = without Ray. Not possible with a node.
        fresh: replay again the bags that an earlier run completed.
        command: the command line, only recorded.
        overwrite: see `ResultFolder`.
    """

    out: Path
    bags: Mapping[str, ReplayConfig]
    failed: Mapping[str, str] = field(default_factory=dict)
    workers: int = 0
    ray: str = ""
    fresh: bool = False
    command: str = ""
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UserError(
                f"--workers {self.workers} given, 1 or more expected, or 0 to choose automatically"
            )
        if self.ray and self.with_node:
            raise UserError(
                f"--ray {self.ray} with --node: the node's times are measured on this machine; use --direct, or leave "
                "--ray out"
            )

    @property
    def with_node(self) -> bool:
        return any(NODE in one.runs for one in self.bags.values())


def run_many(
    config: ManyConfig,
    on_progress: OnProgress = lambda step, done, total: None,
    on_note: OnNote = lambda line: None,
) -> dict[str, Any]:
    """Replays all bags; returns the content of `out`/summary.json. A bag that fails is listed in `failed`.

    Raises UserError if nothing can be replayed; with status 130, and how to resume, if the user interrupts. Each bag
    has its own result folder; an earlier summary.json stays until the new one is written.
    """
    written = [f"{name}/{place}" for name, one in config.bags.items() for place in one.replaced]
    check_inputs(config.out, written, [given for one in config.bags.values() for given in one.inputs])
    # The folder of a list owns only summary.json; each bag has its own result folder, see `run_replay`.
    with ResultFolder(config.out, "replay BAGS", ("summary.json",), overwrite=config.overwrite) as folder:
        return _run_many(config, folder, on_progress, on_note)


def _run_many(
    config: ManyConfig, folder: ResultFolder, on_progress: OnProgress, on_note: OnNote
) -> dict[str, Any]:
    count = len(config.bags) + len(config.failed)
    status = _ReplayStatus(on_note=on_note, on_failed=on_note, on_progress=on_progress, count=count)
    for name, line in config.failed.items():
        status.on_event(Failed(name, line))
    to_do = _reuse_complete(config, folder, status)
    if to_do:
        _run(config, to_do, status)
    names = [*config.bags, *config.failed]
    bags = {name: status.done[name]["runs"] for name in names if name in status.done}
    summary: dict[str, Any] = {
        "bags": bags,
        "failed": {name: status.failed[name] for name in names if name in status.failed},
        "means": _means(bags),
        "means_over": MEANS_OVER,
        "command": config.command,
        **replayed_with(),
    }
    try:
        write_json(folder.stage("summary.json"), summary)
        folder.commit()
    except OSError as error:  # the results are still printed
        summary["failed"]["summary.json"] = not_written(error, config.out / "summary.json")
        on_note(summary["failed"]["summary.json"])
    return summary


@dataclass(kw_only=True)
class _ReplayStatus(JobStatus):
    """Progress of a list of `count` bags; values are those of `headlines`."""

    on_progress: OnProgress
    count: int

    def on_event(self, event: Event) -> None:
        super().on_event(event)
        if isinstance(event, Finished):
            for note in event.value["notes"]:
                self.on_note(f"{event.name}: {note}")
        running = ", ".join(f"{name} ({image} images)" for name, image in self.at.items())
        step = f"replaying {running}" if running else "replaying"
        self.on_progress(step, len(self.done) + len(self.failed), self.count)


def headlines(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a bag's summary.json that the summary of the list contains: numbers by run, and notes."""
    runs = {
        name: {
            **{key: run[key] for key in (*SCORES, *COUNTS, "latency_ms")},
            "objects": {key: {score: one[score] for score in SCORES} for key, one in run["objects"].items()},
        }
        for name, run in summary["runs"].items()
    }
    return {"runs": runs, "notes": summary["notes"]}


def _reuse_complete(
    config: ManyConfig, folder: ResultFolder, status: _ReplayStatus
) -> dict[str, ReplayConfig]:
    """Adds complete bags to the status, and fails bags whose folder belongs to the user. Returns the others."""
    to_do, reused = {}, 0
    for name, one in config.bags.items():
        try:
            if folder.state(name) is FileState.LINK:
                raise UserError(why_blocked(folder.path, name, FileState.LINK))
            one.folder()
        except UserError as error:
            status.on_event(Failed(name, str(error)))
            continue
        summary, reason = reusable_summary(one)
        if config.fresh or summary is None:
            to_do[name] = one
            if reason and not config.fresh:
                status.on_note(f"{name} runs again: {reason}")
            continue
        status.on_event(Finished(name, headlines(summary)))
        reused += 1
    if reused:
        status.on_note(
            f"{reused} of {status.count} bags are complete in '{config.out}' and reused; --fresh runs them again"
        )
    return to_do


def _run(config: ManyConfig, to_do: Mapping[str, ReplayConfig], status: _ReplayStatus) -> None:
    needs_model = [one for one in to_do.values() if set(one.runs) != {RECORDED}]
    device = needs_model[0].model_options.resolved().device if needs_model else "cpu"
    workers = config.workers
    if config.with_node and not workers:
        workers = 1
    chosen = choose_runner(len(to_do), device, workers, config.ray)
    if config.with_node and chosen.workers > 1:
        status.on_note(
            f"{chosen.workers} bags run at a time: the node's latencies and drops are those of a shared machine"
        )
    jobs = [Job(name, _resolved(one)) for name, one in to_do.items()]
    try:
        chosen.runner.run(LoadReplayer(chosen.threads), jobs, status.on_event)
    except KeyboardInterrupt:
        # Counted by the files: a process may have finished a bag without having reported it yet.
        complete = [one for name, one in config.bags.items() if name not in to_do or reusable_summary(one)[0]]
        raise UserError(
            f"interrupted; {len(complete)} of {status.count} bags are complete in '{config.out}': the same command "
            "resumes with the others",
            status=130,
        ) from None
    status.fail_others(to_do)


def _resolved(config: ReplayConfig) -> ReplayConfig:
    """Fixes device and precision here, so that all processes use the same."""
    if NODE in config.runs or set(config.runs) == {RECORDED}:
        return config
    return replace(config, model_options=config.model_options.resolved())


@dataclass(frozen=True)
class LoadReplayer:
    """Creates the replayer in the process that uses it. `threads`: of PyTorch and OpenCV; 0 = unchanged."""

    threads: int = 0

    def __call__(self) -> Replayer:
        use_threads(self.threads)
        return Replayer()


class Replayer:
    """Replays one bag after the other; successive bags with the same model options load the model once."""

    def __init__(self) -> None:
        self._cached = functools.lru_cache(maxsize=1)(open_model)

    def _open(self, options: ModelOptions, config: TrackerConfig) -> Sam2Model:
        """The cached model if the options are equal; with compiling, also the tracker's configuration."""
        model = self._cached(options, config if options.compile != OFF else IMAGE_MODE)
        try:
            model.check_fits(config)
        except CheckpointError as error:  # only this bag fails: others may have fewer objects
            raise JobError(str(error)) from error
        return model

    def __call__(self, config: ReplayConfig, on_progress: Callable[[int], None]) -> dict[str, Any]:
        """Replays one bag and returns its `headlines`. Raises JobError."""
        # With a node, no model is cached: it would occupy GPU memory that the node needs.
        opens: OpenModel = open_model if NODE in config.runs else self._open
        try:
            return headlines(run_replay(config, lambda step, done, total: on_progress(done), opens))
        except CheckpointError as error:
            raise JobError(str(error), ends_all=True) from error
        except UserError as error:  # the message of a live run may include the last lines of the node's log
            first, *log = str(error).split("\n  | ")
            seen = f" (see {config.recording(NODE).parent / 'node.log'})" if log else ""
            raise JobError(first + seen) from error
        except torch.OutOfMemoryError as error:
            raise memory_error(config.model_options.device) from error
        except OSError as error:
            raise disk_error(error, config.out) from error


def _means(bags: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The means of each run, see `MEANS_OVER`."""
    means: dict[str, Any] = {}
    for name in dict.fromkeys(run for runs in bags.values() for run in runs):
        runs = [one[name] for one in bags.values() if name in one]
        objects = [scores for run in runs for scores in run["objects"].values()]
        means[name] = {
            **{
                key: rounded(mean(one[key] for one in objects), 2 if key in ("J", "F", "JF") else 4)
                for key in SCORES
            },
            **{key: sum(run[key] for run in runs) for key in COUNTS},
            "objects": len(objects),
            "bags": len(runs),
        }
    return means
