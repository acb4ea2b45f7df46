"""Results that an earlier run left: which of them an equal run would repeat, and which it takes over.

Knows what decides the numbers of a sequence; does not know how they are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.eval.fingerprint import kept_record, model_print, versions_print

from .eval_config import EvalConfig
from .results import result_file
from .sequence_run import Assignment

_UNSAID = {"model": "the model's file is another one", "sequence": "frames or masks have changed"}


@dataclass(frozen=True)
class Fingerprints:
    """What decides the numbers of every sequence of a run, beside the sequence itself."""

    of_run: dict[str, Any]

    @classmethod
    def of(cls, config: EvalConfig) -> Fingerprints:
        """Reads the model's file once. Raises CheckpointError."""
        return cls(
            {
                **versions_print(),
                **model_print(config.model_options),
                "prompt": config.prompt,
                "numerics": config.numerics,
                "memory": config.memory.as_dict(),
                "baselines": sorted(config.baselines),
            }
        )

    def of_sequence(self, sequence: VosSequence) -> dict[str, Any]:
        """By what it is called in messages. Raises SourceError."""
        return {**self.of_run, "sequence": sequence.identity()}


@dataclass(frozen=True)
class Sorted:
    """The sequences of a run: records of those that are complete, the others, and a line for people if there is one."""

    records: dict[str, dict[str, Any]]
    to_do: list[Assignment]
    notes: list[str]


def sort_out(assignments: Sequence[Assignment], out: Path, staging: Path) -> Sorted:
    """What of a run is complete in `out`, or in `staging` where an interrupted one left it, by the same fingerprint."""
    records, to_do, reasons = {}, [], Counter[str]()
    for one in assignments:
        record, reason = kept_record(result_file(out, one.sequence.name), one.fingerprint, _UNSAID)
        if record is None:
            record, _ = kept_record(result_file(staging, one.sequence.name), one.fingerprint, _UNSAID)
        if record is not None:
            records[one.sequence.name] = record
            continue
        to_do.append(one)
        if reason:
            reasons[reason] += 1
    notes = []
    if records:
        notes.append(
            f"{len(records)} of {len(assignments)} sequences are complete in '{out}' and taken over; --fresh runs "
            "them again"
        )
    notes += [f"{_sequences(count)} of '{out}' run again: {reason}" for reason, count in reasons.items()]
    return Sorted(records, to_do, notes)


def _sequences(count: int) -> str:
    return f"{count} sequence" if count == 1 else f"{count} sequences"
