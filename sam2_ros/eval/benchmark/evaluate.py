# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros eval` on videos: runs the model and the baselines over every sequence and writes the summary.

Connects dataset, resume, runner and summary; does not know how any of them works.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sam2_ros.atomic_write import write_json
from sam2_ros.datasets.layouts import open_dataset
from sam2_ros.datasets.rendered import is_rendered
from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.errors import UserError
from sam2_ros.eval.fingerprint import made_with
from sam2_ros.eval.jobs.choose_runner import choose_runner
from sam2_ros.eval.jobs.job import Event, Finished, Job, JobStatus, OnNote, OnProgress, not_written
from sam2_ros.media.frame_source import SourceError
from sam2_ros.result_folder.folder import ResultFolder

from .eval_config import EvalConfig, EvalResult
from .report_frames import write_eval_report
from .resume import plan_resume, run_fingerprint
from .sequence_evaluator import LoadEvaluator, SequenceTask
from .sequence_writer import RESULT, result_file, sequence_result_names
from .summary import summarise

SUMMARIES = ("summary.json", "report.html")
_LEAST_ANNOTATED = 3


def run_eval(
    config: EvalConfig,
    on_progress: OnProgress = lambda step, done, total: None,
    on_note: OnNote = lambda line: None,
    command: tuple[str, ...] = (),
) -> EvalResult:
    """Evaluates the model. A sequence that fails is listed in the report's `failed`; the others are still scored.

    Args:
        on_note: called with one line for each thing the user should know: what was reused, what failed.
        command: the command line, for summary.json.

    Raises UserError if nothing can be evaluated; with status 130, and how to resume, if the user interrupts. An earlier
    summary.json and its files stay until the new ones are complete.
    """
    config = _with_absolute_paths(config) if config.ray else config
    if config.out is None:
        return _run(config, None, on_progress, on_note, command)
    inputs = [] if is_rendered(config.dataset) else [("the dataset", config.dataset)]
    folder = ResultFolder(config.out, "eval", SUMMARIES, inputs, config.overwrite, resume=True)
    with folder:
        return _run(config, folder, on_progress, on_note, command)


def _run(
    config: EvalConfig,
    folder: ResultFolder | None,
    on_progress: OnProgress,
    on_note: OnNote,
    command: tuple[str, ...],
) -> EvalResult:
    failed: dict[str, str] = {}
    sequences = _usable(open_dataset(config.dataset, config.split, config.sequences, failed), config, failed)
    # With a single sequence, its failure is the error of the run: no note then.
    on_failed = on_note if len(sequences) + len(failed) > 1 else lambda line: None
    for name, line in failed.items():
        on_failed(f"{name} failed: {line}")
    done, to_do = _plan(config, folder, sequences, failed, on_note, on_failed)
    reused = len(done)
    options = config.model_options.resolved()
    runner, workers, threads = choose_runner(len(to_do), options.device, config.workers, config.ray)
    lengths = {one.sequence.name: len(one.sequence) for one in to_do}
    publish = None if folder is None or folder.has_file("summary.json") else folder
    status = _EvalStatus(
        on_note=on_note,
        on_failed=on_failed,
        done=done,
        failed=failed,
        on_progress=on_progress,
        lengths=lengths,
        publish=publish,
    )
    if to_do:
        on_progress("loading the model", 0, None)
        jobs = [Job(one.sequence.name, one) for one in to_do]
        try:
            # Resolved here, so that all processes use the same device and precision.
            staged = replace(config, model_options=options, out=None if folder is None else folder.staging)
            load = LoadEvaluator(staged, threads, _most_objects(config, to_do))
            runner.run(load, jobs, status.on_event)
        except KeyboardInterrupt:
            # Counted by the files: a process may have finished a sequence without having reported it yet.
            complete = reused
            if folder is not None:
                complete += len(plan_resume(to_do, folder.path, folder.staging).records)
                _drop_incomplete(folder)
                for name in lengths:
                    status.publish_complete(name)
            raise UserError(_resume_hint(config, complete, len(sequences)), status=130) from None
        status.fail_others(lengths)
    records = [done[sequence.name] for sequence in sequences if sequence.name in done]
    if not any(record["objects"] for record in records):
        raise SourceError(_none_scored(config.dataset, failed))
    run = {"workers": workers, "taken_over": reused, "command": list(command)}
    result = _result(config, records, failed, run)
    if folder is not None:
        waiting = _drop_incomplete(folder)
        try:
            write_json(folder.stage("summary.json"), result.report | result.details)
            folder.commit((*SUMMARIES, *waiting))
        except OSError as error:  # the scores are still printed
            failed["summary.json"] = not_written(error, folder.path / "summary.json")
            on_note(failed["summary.json"])
            folder.close()
        else:
            on_progress("writing the report", 0, None)
            _write_report(folder, sequences, failed, on_note)
    return result


def _write_report(
    folder: ResultFolder, sequences: list[VosSequence], failed: dict[str, str], on_note: OnNote
) -> None:
    """Writes report.html. The summary is already written, so that a failure here is only noted."""
    try:
        write_eval_report(folder.path, sequences, folder.stage("report.html"))
        folder.commit(())
    except (OSError, SourceError) as error:
        failed["report.html"] = f"'{folder.path / 'report.html'}' is not written: {error}"
        on_note(failed["report.html"])


def _result(
    config: EvalConfig, records: list[dict[str, Any]], failed: dict[str, str], run: dict[str, Any]
) -> EvalResult:
    """The means over all records, with settings and versions. `run`: workers and command of this run."""
    summary, first = summarise(records), records[0]
    details = {
        "dataset": str(config.dataset),
        "split": config.split,
        **{key: first[key] for key in ("device", "precision", "image_size")},
        "numerics": config.numerics,
        "memory": config.memory.as_dict(),
        **summary.details,
        "threads": first["threads"],
        **run,
        **made_with(),
    }
    if config.out is not None:
        details["results"] = {one["name"]: result_file(Path(), one["name"]).as_posix() for one in records}
    report = {"model": first["model"], "prompt": config.prompt, **summary.report, "failed": failed}
    return EvalResult(report, details)


def _usable(sequences: list[VosSequence], config: EvalConfig, failed: dict[str, str]) -> list[VosSequence]:
    """The sequences with frames to score; the others go to `failed`. Raises SourceError if none is left."""
    short = [one for one in sequences if len(one.truth.indices) < _LEAST_ANNOTATED]
    if len(short) == len(sequences) and not failed:
        raise SourceError(
            f"'{config.dataset}' has no sequence with three annotated frames (the first and the last are not scored): "
            "expected a split with published ground truth, such as train"
        )
    for one in short:
        failed[one.name] = (
            f"sequence '{one.name}' has {len(one.truth.indices)} annotated frames (the first and the last are not "
            f"scored): at least {_LEAST_ANNOTATED} expected"
        )
    usable = [one for one in sequences if one not in short]
    if not usable:
        raise SourceError(_none_scored(config.dataset, failed))
    return usable


def _drop_incomplete(folder: ResultFolder) -> list[str]:
    """Removes incomplete sequences from staging. Returns the folders of the complete ones, each ending in `/`."""
    ends = f"/{RESULT}"
    complete = [name.removesuffix(RESULT) for name in folder.staged() if name.endswith(ends)]
    folder.drop_staged(complete)
    return complete


def _plan(
    config: EvalConfig,
    folder: ResultFolder | None,
    sequences: list[VosSequence],
    failed: dict[str, str],
    on_note: OnNote,
    on_failed: OnNote,
) -> tuple[dict[str, dict[str, Any]], list[SequenceTask]]:
    """Records reused from an earlier run, by name, and the sequences left to evaluate."""
    if folder is None:
        return {}, [SequenceTask(one, {}) for one in sequences]
    of_run = run_fingerprint(config)
    tasks = []
    for one in sequences:
        try:
            tasks.append(SequenceTask(one, {**of_run, "sequence": one.identity()}))
        except SourceError as error:
            failed[one.name] = str(error)
            on_failed(f"{one.name} failed: {error}")
    found = plan_resume([] if config.fresh else tasks, folder.path, folder.staging)
    to_do = tasks if config.fresh else found.to_do
    folder.drop_staged(f"{name}/" for name in found.records)
    staged = {name for name in found.records if result_file(folder.staging, name).exists()}
    new = [one.sequence for one in to_do] + [one for one in sequences if one.name in staged]
    for sequence in new:
        for name in (f"{sequence.name}/", *sequence_result_names(sequence)):
            folder.target(name)
    for note in found.notes:
        on_note(note)
    return found.records, to_do


def _most_objects(config: EvalConfig, to_do: list[SequenceTask]) -> int:
    """Most objects in one sequence, for a compiled model; 1 without compiling, so that no mask is read early."""
    most = 1
    for one in to_do if config.model_options.compile != "off" else ():
        with contextlib.suppress(SourceError):  # raised again when the sequence is evaluated
            most = max(most, len(one.sequence.first_frames))
    return most


def _with_absolute_paths(config: EvalConfig) -> EvalConfig:
    """The configuration with absolute paths, for processes that run in other folders."""
    dataset = config.dataset if is_rendered(config.dataset) else config.dataset.absolute()
    return replace(
        config,
        dataset=dataset,
        out=config.out.absolute() if config.out is not None else None,
        model_options=config.model_options.in_any_folder(),
    )


@dataclass(kw_only=True)
class _EvalStatus(JobStatus):
    """Progress of a run, in frames.

    Attributes:
        lengths: number of frames of each sequence to evaluate.
        publish: the result folder to which complete sequences are moved at once; None = all together at the end, so
            that an earlier result stays whole until then.
    """

    on_progress: OnProgress
    lengths: dict[str, int]
    publish: ResultFolder | None

    def publish_complete(self, name: str) -> None:
        """Moves a complete sequence to its place. On an error it stays in staging; the end of the run reports it."""
        if self.publish is not None and result_file(self.publish.staging, name).exists():
            with contextlib.suppress(OSError, UserError):
                self.publish.commit((f"{name}/",), only=f"{name}/")

    def on_event(self, event: Event) -> None:
        super().on_event(event)
        if isinstance(event, Finished):
            self.publish_complete(event.name)
        ended = [length for name, length in self.lengths.items() if name in self.done or name in self.failed]
        step = f"{len(ended)} of {len(self.lengths)} done" + (f", at {', '.join(self.at)}" if self.at else "")
        self.on_progress(step, sum(ended) + sum(self.at.values()), sum(self.lengths.values()))


def _none_scored(dataset: Path, failed: dict[str, str]) -> str:
    if not failed:
        return f"no object of '{dataset}' is visible before the last annotated frame"
    line = next(iter(failed.values()))
    return (
        line
        if len(failed) == 1
        else f"none of {len(failed)} sequences of '{dataset}' can be used; the first: {line}"
    )


def _resume_hint(config: EvalConfig, done: int, count: int) -> str:
    if config.out is None:
        return "interrupted; without --out DIR no results are kept, with it the same command resumes"
    return (
        f"interrupted; {done} of {count} sequences are complete in '{config.out}': the same command resumes with the "
        "others"
    )
