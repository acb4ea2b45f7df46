# SPDX-License-Identifier: Apache-2.0
"""Combines the records of all sequences into the means of summary.json.

Knows only the records of sequences, from this run or an earlier one; knows no model and no image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sam2_ros.eval.metrics import spread

from .eval_config import EvalResult
from .scores import ObjectScores, means, object_means, presence_calibration

Record = Mapping[str, Any]


def sequence_means(objects: Sequence[ObjectScores], steps_ms: Sequence[float]) -> dict[str, Any]:
    """The mean scores of a sequence's objects, and its frames per second."""
    return {**means(objects), "fps": _fps(steps_ms)}


@dataclass
class _MethodTotals:
    """Scores and times of one method over all sequences."""

    sequences: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, list[ObjectScores]] = field(default_factory=dict)
    groups: dict[str, list[ObjectScores]] = field(default_factory=dict)
    steps_ms: list[float] = field(default_factory=list)

    def add(self, name: str, group: str, record: Record) -> None:
        objects = [ObjectScores.from_record(key, one) for key, one in record["objects"].items()]
        self.objects[name] = objects
        self.sequences[name] = sequence_means(objects, record["steps_ms"])
        self.steps_ms += record["steps_ms"]
        if group:
            self.groups.setdefault(group, []).extend(objects)

    def all_objects(self) -> list[ObjectScores]:
        return [one for objects in self.objects.values() for one in objects]

    def report(self) -> dict[str, Any]:
        times = spread(self.steps_ms)
        groups = {name: means(objects) for name, objects in self.groups.items()}
        return {
            "sequences": self.sequences,
            **({"groups": groups} if groups else {}),
            **means(self.all_objects()),
            "fps": _fps(self.steps_ms),
            "latency_ms": {"p50": round(times.p50, 2), "p95": round(times.p95, 2)},
        }


def summarise(records: Iterable[Record]) -> EvalResult:
    """Computes the means over one or more records (see result.json); each object has the same weight.

    The details also contain the calibration of the presence score.
    """
    methods: dict[str, _MethodTotals] = {}
    prompted = {}
    for record in records:
        for name, one in {"model": record, **record["baselines"]}.items():
            methods.setdefault(name, _MethodTotals()).add(record["name"], record["group"], one)
        prompted[record["name"]] = record["prompted_frames"]
    reports = {name: method.report() for name, method in methods.items()}
    report = reports.pop("model")
    if reports:
        report["baselines"] = reports
    objects = {
        name: {
            sequence: {one.name: object_means(one) for one in of_sequence}
            for sequence, of_sequence in method.objects.items()
        }
        for name, method in methods.items()
    }
    return EvalResult(
        report,
        {
            "prompted_frames": prompted,
            "objects": objects,
            "calibration": presence_calibration(methods["model"].all_objects()),
        },
    )


def _fps(steps_ms: Sequence[float]) -> float:
    return round(1000 * len(steps_ms) / sum(steps_ms), 2)
