# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes a model: sequences and weights in; new weights, a log, pictures and a checkpoint to resume from out.

Does not know the command line or configuration files.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sam2_ros.atomic_write import write_json
from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.engine.config import config_for
from sam2_ros.engine.kernels.prepare import prepare
from sam2_ros.engine.model.sam2 import PRECISIONS, Sam2Model
from sam2_ros.errors import UserError
from sam2_ros.eval.jobs.job import OnNote, OnProgress
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.train.checkpoint import TrainingLog, load_checkpoint, save_checkpoint
from sam2_ros.train.data.clip_sampler import ClipSampler, batches
from sam2_ros.train.data.sequences import open_sequences
from sam2_ros.train.losses import TERMS, LossConfig
from sam2_ros.train.nano.initial_values import initialise
from sam2_ros.train.processes import ProcessGroup, join_processes
from sam2_ros.train.train_config import FinetuneConfig
from sam2_ros.weights.load import load_model, save_model

from .feature_cache import FeatureCache
from .parameters import freeze, make_optimiser, rates_of
from .pictures import clip_samples, write_curves, write_samples
from .run_folder import run_folder
from .step import FinetuneState, Stepper
from .teacher import FeatureBridge, Teacher
from .validate import SampleFrame, SequenceScore, track_and_score

FIXED = ("model", "random_weights", "image_size", "freeze_encoder", "teacher")  # must equal the checkpoint's
PICTURED = 4  # most held-out sequences that are drawn; frames of others are not kept


def finetune(config: FinetuneConfig, tell: OnNote, progress: OnProgress) -> dict[str, Any]:
    """Starts a fine-tuning run, or resumes the one in `config.out`.

    Writes best.safetensors and last.safetensors (float16, for `load_model`), checkpoint.pt, log.jsonl, curves.png,
    samples/ and summary.json.

    Args:
        tell: called with one line for the user.
        progress: called with the name of a step, the amount done and the total.

    Returns:
        The content of summary.json.

    Raises UserError if settings, data or weights cannot be used, if `config.out` has other files or contains an input,
    or if the loss is not finite.
    """
    with join_processes(config.device) as processes:
        if not processes.is_first:
            return FinetuneRun(config, processes, None, lambda line: None, lambda *_: None).run()
        with run_folder(Path(config.out).expanduser(), config) as folder:
            summary = FinetuneRun(config, processes, folder, tell, progress).run()
            folder.drop_staged()  # all results are in their final place
            return summary


class FinetuneRun:
    """The part of a run that one process does."""

    def __init__(
        self,
        config: FinetuneConfig,
        processes: ProcessGroup,
        folder: ResultFolder | None,  # None except in the first process, which writes
        tell: OnNote,
        progress: OnProgress,
    ) -> None:
        self.config, self.processes, self.tell, self.progress = config, processes, tell, progress
        if config.threads:
            torch.set_num_threads(config.threads)
        self.out = Path(config.out).expanduser()
        self.folder = folder
        self.sequences, self.held_out = split(config)
        self.model = student(config, processes.device)
        if folder is not None:
            folder.own("log.jsonl")
        self.log = TrainingLog(self.out / "log.jsonl", None if folder is None else folder.staging)
        self.scores: dict[str, Any] = {}
        self.doing = "training"
        self.stepper = self._stepper()

    def run(self) -> dict[str, Any]:
        config, stepper, processes = self.config, self.stepper, self.processes
        first = self._resume()
        processes.share_weights(self.model)
        if first == 0:
            self._validate(0)
        sampler = self._sampler()
        stream = batches(sampler, stepper.clip_numbers(first), config.workers)
        began, reported = time.monotonic(), first
        for number in range(first, config.steps):
            self.progress(self.doing, number, config.steps)
            stepper.step(number, stream)
            done = number + 1
            ends = done == config.steps
            if done % config.log_every == 0 or ends:
                self._report(done, (time.monotonic() - began) / (done - reported))
                began, reported = time.monotonic(), done
            if done % config.picture_every == 0 or ends:
                self._picture(done)
            if done % config.validate_every == 0 or ends:
                self._validate(done)
            if self.folder is not None and (done % config.checkpoint_every == 0 or ends):
                staged = self.folder.stage("checkpoint.pt")
                save_checkpoint(staged, config, done, stepper.state._asdict(), self.scores)
                self.folder.put("checkpoint.pt")
        processes.barrier()
        return self._summary(first)

    def _stepper(self) -> Stepper:
        config, processes, model = self.config, self.processes, self.model
        freeze(model, config.freeze_encoder)
        teacher = bridge = cache = None
        if config.teacher.model:
            taught_by = load_model(config.teacher.model, str(processes.device), "fp32")
            teacher = Teacher(taught_by)
            if config.teacher.feature_weight:
                torch.manual_seed(config.seed)
                bridge = FeatureBridge(model.config, taught_by.config).to(processes.device)
        if config.cache_features:
            cache = FeatureCache(self.out / "features", model)
            made = cache.fill(
                self.sequences, config.augment.flip > 0, processes.rank, processes.count, self.progress
            )
            self.tell(f"{made} images encoded into {cache.folder}; the others were already there.")
            processes.barrier()
        rates = rates_of(config, model.config.name)
        optimiser = make_optimiser(model, [] if bridge is None else bridge.parameters(), config, rates)
        scaler = torch.amp.GradScaler(processes.device.type, enabled=model.compute_dtype == torch.float16)
        mask_loss = config.mask_loss or ("balanced" if config.random_weights else "focal")
        state = FinetuneState(model, bridge, optimiser, scaler)
        return Stepper(config, state, processes, LossConfig(mask_loss), teacher, cache)

    def _sampler(self) -> ClipSampler:
        size = self.model.config.image_size
        teacher = self.stepper.teacher
        picture = max(size, teacher.model.config.image_size) if teacher else size
        return ClipSampler(self.sequences, self.config, size, 0 if self.config.cache_features else picture)

    def _resume(self) -> int:
        """Loads the checkpoint if there is one; returns the number of steps done."""
        path, config = self.out / "checkpoint.pt", self.config
        if not path.exists():
            if self.processes.is_first:
                self.log.keep_until(-1)
            weights = "seeded random weights" if config.random_weights else config.model
            self.tell(
                f"Fine-tuning {self.model.config.name} from {weights} on {len(self.sequences)} sequences, "
                f"{len(self.held_out)} held out; {self.processes.device}, {self.model.precision_name}, "
                f"{self.processes.count} process(es)."
            )
            own = config_for(self.model.config.name).image_size
            if self.model.config.image_size != own:
                self.tell(
                    f"image_size {self.model.config.image_size}: the weights will still be used at {own} px, where "
                    "their quality may be lower than here."
                )
            return 0
        step, self.scores, differing = load_checkpoint(path, config, FIXED, self.stepper.state._asdict())
        changed = f" Changed since: {', '.join(differing)}." if differing else ""
        self.tell(f"Resuming from step {step} of {config.steps} in {self.out}.{changed}")
        if self.processes.is_first:
            self.log.keep_until(step)
        self.processes.barrier()
        return step

    def _report(self, done: int, seconds: float) -> None:
        sums = {name: self.processes.total(value) for name, value in sorted(self.stepper.sums.items())}
        self.stepper.sums = {}
        answers, seen = max(1.0, sums.pop("answers", 0.0)), sums.pop("seen", 0.0)
        tracked = sums.pop("iou_tracked", 0.0)
        names = [name for name in ("loss", *TERMS, "teacher_mask", "teacher_features") if name in sums]
        line: dict[str, Any] = {"step": done} | {name: round(sums[name] / answers, 5) for name in names}
        line["iou_tracked"] = round(tracked / seen, 4) if seen else None
        line["lr"] = max(group["lr"] for group in self.stepper.state.optimiser.param_groups)
        line["s_per_step"] = round(seconds, 3)
        if self.processes.device.type == "cuda":
            line["gpu_gb"] = round(torch.cuda.max_memory_allocated(self.processes.device) / 1e9, 2)
        if self.processes.is_first:
            self.log.add(line)
            self.doing = f"training, loss {line['loss']:.3f}"

    def _picture(self, done: int) -> None:
        """Draws a training clip as the model sees it, and the curves. Held-out sequences are drawn in `_validate`."""
        last = self.stepper.last
        if self.folder is None or last is None:
            return
        if last[0].images_bt3hw is not None:
            rows = {f"training, step {done}": clip_samples(*last)}
            self._samples(self.folder, f"samples/{done:06d}_training.png", rows)
        self._curves(self.folder)

    def _samples(self, folder: ResultFolder, name: str, rows: Mapping[str, Sequence[SampleFrame]]) -> None:
        write_samples(folder.stage(name), rows)
        if name in folder.staged():
            folder.put(name)

    def _curves(self, folder: ResultFolder) -> None:
        write_curves(folder.stage("curves.png"), self.log.lines())
        folder.put("curves.png")

    def _weights(self, folder: ResultFolder, name: str, notes: dict[str, str]) -> None:
        save_model(self.model, folder.stage(name), notes)
        folder.put(name)

    def _validate(self, done: int) -> None:
        """Scores the held-out sequences, and saves the best and the last weights."""
        config, processes = self.config, self.processes
        mine: list[SequenceScore] = []
        model = prepare(self.model)
        for sequence in self.held_out[processes.rank :: processes.count]:
            self.progress(f"validating {sequence.name}", done, config.steps)
            tracked = track_and_score(model, sequence, config.validation_prompt, config.validation_frames)
            if tracked is not None:
                pictured = len(mine) < PICTURED
                mine.append(tracked if pictured else replace(tracked, samples=()))
        everyone = processes.gather([replace(score, samples=()) for score in mine])
        folder = self.folder
        if folder is None:
            return
        if mine:
            rows = {
                f"{s.name}, step {done}: J {100 * s.j:.1f} F {100 * s.f:.1f}": s.samples
                for s in mine[:PICTURED]
            }
            self._samples(folder, f"samples/{done:06d}_held_out.png", rows)
        score = _mean(everyone)
        notes = {"step": str(done), "start": "random" if config.random_weights else config.model}
        if score:
            self.log.add({"step": done, **score})
            self.tell(f"step {done}: J {score['J']}, F {score['F']}, J&F {score['JF']} on held-out sequences")
            self.scores.setdefault("before", score)
            self.scores["last"] = {"step": done, **score}
            if score["JF"] > self.scores.get("best", {"JF": -1.0})["JF"]:
                self.scores["best"] = {"step": done, **score}
                self._weights(folder, "best.safetensors", notes | {"JF": str(score["JF"])})
        elif self.held_out:
            self.tell(
                "Nothing to score: no object is visible on two annotated frames of a held-out sequence."
            )
        self._weights(folder, "last.safetensors", notes)
        self._curves(folder)

    def _summary(self, first: int) -> dict[str, Any]:
        best = self.out / "best.safetensors"
        if self.scores.get("best", {}).get("step") == 0:
            self.tell(
                "No step improved on the initial weights: best.safetensors contains the initial weights."
            )
        summary = {
            "model": self.model.config.name,
            "start": "random weights" if self.config.random_weights else self.config.model,
            "steps": self.config.steps,
            "resumed_from": first,
            "sequences": len(self.sequences),
            "held_out": len(self.held_out),
            "device": str(self.processes.device),
            "precision": self.model.precision_name,
            "processes": self.processes.count,
            **self.scores,
            "weights": str(best if self.scores.get("best") else self.out / "last.safetensors"),
        }
        if self.folder is not None:
            write_json(self.folder.stage("summary.json"), summary)
            self.folder.put("summary.json")
        return summary


def split(config: FinetuneConfig) -> tuple[list[VosSequence], list[VosSequence]]:
    """Training sequences, and held-out ones: those of `validation_data`, or the last of `data` by name.

    Raises:
        SourceError: data cannot be read.
        UserError: no training sequence is left.
    """
    sequences = open_sequences(config.data)
    if config.validation_data:
        return sequences, open_sequences(config.validation_data)
    count = config.validation_sequences
    if count >= len(sequences):
        raise UserError(
            f"data has {len(sequences)} sequence(s), and {count} are to be held out: add sequences, set "
            "validation_data, or set validation_sequences: 0"
        )
    return sequences[: len(sequences) - count], sequences[len(sequences) - count :]


def student(config: FinetuneConfig, device: torch.device) -> Sam2Model:
    """The model to train: float32 weights, with its autocast type set."""
    if config.random_weights:
        try:
            shape = config_for(config.model)
        except ValueError as error:
            raise UserError(f"{error}, because random_weights is set") from None
        torch.manual_seed(config.seed)
        model = initialise(Sam2Model(shape.at_image_size(config.image_size or shape.image_size)))
    else:
        model = load_model(config.model, "cpu", "fp32").unprepared
        if config.image_size and config.image_size != model.config.image_size:
            state = model.state_dict()
            model = Sam2Model(model.config.at_image_size(config.image_size))
            model.load_state_dict(state)
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    model.compute_dtype = PRECISIONS[precision]
    return model.to(device).eval()


def _mean(scores: list[SequenceScore]) -> dict[str, float]:
    """Means of J, F and J&F over all objects, in percent; empty without a score."""
    objects = sum(score.objects for score in scores)
    if not objects:
        return {}
    j = 100 * sum(score.j * score.objects for score in scores) / objects
    f = 100 * sum(score.f * score.objects for score in scores) / objects
    return {"J": round(j, 2), "F": round(f, 2), "JF": round((j + f) / 2, 2)}
