# SPDX-License-Identifier: Apache-2.0
"""Resumes an evaluation: finds the sequences whose earlier results can be reused.

Knows which settings determine the scores of a sequence; does not know how they are computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2_ros.eval.fingerprint import code_fingerprint, model_fingerprint, reusable_record
from sam2_ros.text import counted

from .eval_config import EvalConfig
from .sequence_evaluator import SequenceTask
from .sequence_writer import result_file


def run_fingerprint(config: EvalConfig) -> dict[str, Any]:
    """Fingerprint of a run: everything but the sequence itself that determines its scores. Reads the model's file once.

    Raises CheckpointError.
    """
    return {
        **code_fingerprint(),
        **model_fingerprint(config.model_options),
        "prompt": config.prompt,
        "numerics": config.numerics,
        "memory": config.memory.as_dict(),
        "baselines": sorted(config.baselines),
    }


@dataclass(frozen=True)
class ResumePlan:
    """The records of complete sequences by name, the sequences left to evaluate, and notes for the user."""

    records: dict[str, dict[str, Any]]
    to_do: list[SequenceTask]
    notes: list[str]


def plan_resume(tasks: Sequence[SequenceTask], out: Path, staging: Path) -> ResumePlan:
    """Finds the sequences that are complete with the same fingerprint, in `out` or in `staging` (interrupted runs)."""
    records, to_do, reasons = {}, [], Counter[str]()
    for one in tasks:
        record, reason = reusable_record(result_file(out, one.sequence.name), one.fingerprint)
        if record is None:
            record, _ = reusable_record(result_file(staging, one.sequence.name), one.fingerprint)
        if record is not None:
            records[one.sequence.name] = record
            continue
        to_do.append(one)
        if reason:
            reasons[reason] += 1
    notes = []
    if records:
        notes.append(
            f"{len(records)} of {len(tasks)} sequences are complete in '{out}' and reused; --fresh runs them again"
        )
    notes += [
        f"{counted(count, 'sequence')} of '{out}' run again: {reason}" for reason, count in reasons.items()
    ]
    return ResumePlan(records, to_do, notes)
