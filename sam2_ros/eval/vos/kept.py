"""Results that an earlier run left: which of them an equal run would repeat, and which it takes over.

Knows what decides the numbers of a sequence; does not know how they are made.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sam2_ros import __version__
from sam2_ros.eval.vos.config import EvalConfig
from sam2_ros.eval.vos.results import result_file
from sam2_ros.eval.vos.sequence_run import Assignment
from sam2_ros.media.datasets.sequence import VosSequence
from sam2_ros.weights import device_and_precision, find_checkpoint, sha256


@dataclass(frozen=True)
class Fingerprints:
    """What decides the numbers of every sequence of a run, beside the sequence itself."""

    of_run: dict[str, Any]

    @classmethod
    def of(cls, config: EvalConfig) -> Fingerprints:
        """Reads the model's file once. Raises CheckpointError."""
        device, precision = device_and_precision(config.device, config.precision)
        return cls(
            {
                "version": __version__,
                "torch": torch.__version__,
                "model": sha256(find_checkpoint(config.model)),
                "prompt": config.prompt,
                "numerics": config.numerics,
                "device": device.partition(":")[0],
                "precision": precision,
                "image size": config.image_size,
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


def sort_out(assignments: Sequence[Assignment], out: Path) -> Sorted:
    """What of a run is complete in `out`, by the same fingerprint."""
    records, to_do, reasons = {}, [], Counter[str]()
    for one in assignments:
        record, reason = _kept(one, result_file(out, one.sequence.name))
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


def _kept(one: Assignment, file: Path) -> tuple[dict[str, Any] | None, str]:
    """The record in a file, or why it is not taken, empty where there is none."""
    try:
        record = json.loads(file.read_text("utf-8"))
        known = record["fingerprint"]
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, KeyError, TypeError):
        return None, "result.json does not decode"
    if known == one.fingerprint:
        return record, ""
    changed = [key for key in one.fingerprint if known.get(key) != one.fingerprint[key]]
    return None, "; ".join(_change(key, known.get(key), one.fingerprint[key]) for key in changed)


def _change(key: str, before: Any, now: Any) -> str:
    """In words; what is a hash has none."""
    if key == "model":
        return "the model's file is another one"
    if key == "sequence":
        return "frames or masks have changed"
    if key == "image size":
        before, now = (f"{size}" if size else "the model's own" for size in (before, now))
    return f"{key} was {_word(before)}, is {_word(now)}"


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    if isinstance(value, list):
        return " and ".join(value) or "none"
    return str(value)


def _sequences(count: int) -> str:
    return f"{count} sequence" if count == 1 else f"{count} sequences"
