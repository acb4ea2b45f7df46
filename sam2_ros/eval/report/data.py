# SPDX-License-Identifier: Apache-2.0
"""Reads the JSON files of `eval` and `replay` into the data that their reports show.

Knows the keys of the files; does not know how anything is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2_ros.media.json_yaml import read_json

Scores = Mapping[str, float | None]
"""Name -> value in the units of the JSON; None if there was nothing to count."""


@dataclass(frozen=True)
class Curve:
    """One object over time; all series have the length of `at`.

    Attributes:
        at: frame numbers, or seconds since the first image of a bag.
        j: percent; None if the frame is not scored.
        presence: logit, above 0 = predicted visible; None without an answer.
        state: name of the state; None without an answer.
        visible: visible in the ground truth; None without ground truth.
    """

    at: Sequence[float]
    j: Sequence[float | None]
    presence: Sequence[float | None]
    state: Sequence[str | None]
    visible: Sequence[bool | None]


@dataclass(frozen=True)
class ReportedObject:
    """One object of a sequence, or of a run of a replay. `number`: from 1 within it, selects the colour."""

    sequence: str
    id: str
    number: int
    scores: Scores
    curve: Curve | None = None
    details: Mapping[str, Any] = field(default_factory=dict)  # as in the JSON

    @property
    def name(self) -> str:
        return f"{self.sequence}, object {self.id}"


@dataclass(frozen=True)
class ReportedSequence:
    """One sequence. `baselines`: J&F of each baseline; `object_baselines`: the same for each object, by id."""

    name: str
    group: str
    scores: Scores
    objects: Sequence[ReportedObject]
    steps_ms: Sequence[float] = ()
    baselines: Mapping[str, float | None] = field(default_factory=dict)
    object_baselines: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class EvalReport:
    """A whole evaluation. `summary`: the content of summary.json."""

    summary: Mapping[str, Any]
    sequences: Sequence[ReportedSequence]

    @property
    def objects(self) -> list[ReportedObject]:
        return [one for sequence in self.sequences for one in sequence.objects]


@dataclass(frozen=True)
class ReportedRun:
    """One run of a replay: "direct", "node" or "recorded". `measures`: its part of summary.json."""

    name: str
    measures: Mapping[str, Any]
    objects: Sequence[ReportedObject]


@dataclass(frozen=True)
class ReplayReport:
    """A whole replay. `summary`: the content of summary.json."""

    summary: Mapping[str, Any]
    runs: Sequence[ReportedRun]


def read_eval(folder: Path) -> EvalReport:
    """Reads the results of `sam2-ros eval --out` from a folder. Raises OSError, and KeyError if they are incomplete."""
    summary = read_json(folder / "summary.json")
    sequences = [
        _sequence(name, scores, summary, read_json(folder / summary["results"][name]))
        for name, scores in summary["sequences"].items()
    ]
    return EvalReport(summary, sequences)


def read_replay(folder: Path) -> ReplayReport:
    """Reads the results of `sam2-ros replay` from a folder. Raises OSError, and KeyError if they are incomplete."""
    summary = read_json(folder / "summary.json")
    runs = [
        ReportedRun(
            name,
            run,
            [
                ReportedObject(name, key, number, _numbers(one), _curve(one["curve"], "stamp_s"), one)
                for number, (key, one) in enumerate(run["objects"].items(), start=1)
            ],
        )
        for name, run in summary["runs"].items()
    ]
    return ReplayReport(summary, runs)


def _sequence(
    name: str, scores: Scores, summary: Mapping[str, Any], result: Mapping[str, Any]
) -> ReportedSequence:
    baselines = summary.get("baselines", {})
    objects = [
        ReportedObject(name, key, number, _numbers(one), _curve(one["curve"], "frame"), one)
        for number, (key, one) in enumerate(result["objects"].items(), start=1)
    ]
    return ReportedSequence(
        name,
        result.get("group", ""),
        scores,
        objects,
        result["steps_ms"],
        {method: one["sequences"][name]["JF"] for method, one in baselines.items()},
        {
            one.id: {method: summary["objects"][method][name][one.id]["JF"] for method in baselines}
            for one in objects
        },
    )


def _curve(curve: Mapping[str, Sequence[Any]], at: str) -> Curve:
    return Curve(curve[at], curve["J"], curve["presence"], curve["state"], curve["visible"])


def _numbers(one: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: value for name, value in one.items() if value is None or isinstance(value, (int, float))}
